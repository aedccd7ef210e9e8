"""Cells compared over the seeds that both sides have: tests, and their rows in a table."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from bitstill.report.far_out import far_out, said_of
from bitstill.report.sweeps import RunSet, View
from bitstill.report.table import NOT_APPLICABLE, p_text, plus_minus, signed
from bitstill.statistics import MARGIN, Difference, equivalence_p, holm, paired_difference

HEADER = ("difference", "p", "p equal", "pairs")
Sides = tuple[dict[int, float], dict[int, float]]  # accuracies in percent by seed, the same seeds


@dataclass(frozen=True)
class CellComparison:
    """A cell in two sets, or a cell and its set's baseline.

    Attributes:
        cell: its name.
        first: accuracies in percent of the first set's runs, or of the baseline's, by seed, for
            seeds on both sides.
        second: the same for the second set's runs, or the cell's.
        difference: second minus first, in points; None without a seed in both.
        p: p of no difference, after correction; None where nothing is tested.
        equivalence_p: p of a difference of at least the margin; None where nothing is tested.
    """

    cell: str
    first: dict[int, float]
    second: dict[int, float]
    difference: Difference | None
    p: float | None
    equivalence_p: float | None


def compare_cells(sides: Mapping[str, Sides], *, waits: bool) -> list[CellComparison]:
    """Compare the two sides of each cell; while runs are awaited, without p."""
    differences = {cell: _difference(*both) for cell, both in sides.items()}
    tested = {cell: one for cell, one in differences.items() if one and one.df and not waits}
    p = dict(zip(tested, holm([one.p for one in tested.values()]), strict=True))
    equal = {cell: equivalence_p(one, MARGIN) for cell, one in tested.items()}
    return [
        CellComparison(cell, *both, differences[cell], p.get(cell), equal.get(cell))
        for cell, both in sides.items()
    ]


def of_common_seeds(first: dict[int, float], second: dict[int, float]) -> Sides:
    """Return the accuracies of the seeds in both, in the same order."""
    seeds = sorted(first.keys() & second.keys())
    return {seed: first[seed] for seed in seeds}, {seed: second[seed] for seed in seeds}


def _difference(first: dict[int, float], second: dict[int, float]) -> Difference | None:
    """Return second minus first; None without a pair."""
    return paired_difference([*second.values()], [*first.values()]) if first else None


def comparison_row(one: CellComparison) -> list[str]:
    """Return the cell, its two accuracies, and what HEADER names."""
    sides = [list(side.values()) for side in (one.first, one.second)]
    accuracies = [plus_minus(values) if values else NOT_APPLICABLE for values in sides]
    said = "no seed in both" if one.difference is None else signed(one.difference)
    seeds = str(len(one.first))
    return [one.cell, *accuracies, said, p_text(one.p), p_text(one.equivalence_p), seeds]


def comparison_caption(view: View, *, waits: bool) -> str:
    """Return what a reader of such rows must know."""
    return (
        f"Test accuracy in % ({view.label} batch norm) over the seeds in both. difference: the "
        "second accuracy minus the first, with 95 % t interval, in points. p: paired t test, Holm "
        "over the cells. p equal: equivalence test (two one-sided tests) against a difference of "
        f"{MARGIN:g} points or more; small means practically equal."
    ) + waits * " Both p wait for unfinished runs."


def did_not_learn(sets: Sequence[RunSet], view: View, shown: Set[tuple[str, int]]) -> str:
    """Return a sentence on those of the shown runs, by cell and seed, that did not learn."""
    lost = [run for runs in sets for run in far_out(runs, view)]
    return said_of([run for run in lost if (run.record.cell, run.record.seed) in shown], view)
