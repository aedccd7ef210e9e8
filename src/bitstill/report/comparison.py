"""Compares two sets: the cells in both, with paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass

from bitstill.report.claims import primary_view
from bitstill.report.far_out import far_out, said_of
from bitstill.report.sweeps import STATISTICS_NAMES, Run, RunSet, View
from bitstill.report.table import NOT_APPLICABLE, Table, p_text, plus_minus, signed
from bitstill.statistics import MARGIN, Difference, equivalence_p, holm, paired_difference


@dataclass(frozen=True)
class CellComparison:
    """A cell in both sets.

    Attributes:
        cell: its name.
        first: accuracies in percent of the first set's runs, by seed, for seeds in both sets.
        second: the same for the second set's runs.
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


@dataclass(frozen=True)
class SetComparison:
    """Two sets, cell by cell.

    Attributes:
        first: one set.
        second: the other.
        view: the accuracy that is compared.
        cells: those that both have.
        waits: whether runs of these cells are still to come. Then there is no p, as it would
            depend on when one looks.
    """

    first: RunSet
    second: RunSet
    view: View
    cells: Sequence[CellComparison]
    waits: bool

    def table(self, name: str) -> Table:
        """Return the comparison as a table."""
        caption = (
            f"Test accuracy in % ({self.view.label} batch norm) over the seeds in both. "
            "difference: second minus first, with 95 % t interval, in points. p: paired t test, "
            "Holm over the cells. p equal: equivalence test (two one-sided tests) against a "
            f"difference of {MARGIN:g} points or more; small means practically equal."
        ) + self.waits * " Both p wait for unfinished runs."
        differing = _differing(self.first, self.second)
        if "data_identity" in differing:
            caption += (
                " Both p take the images of each set as given: over other images, differences vary "
                "more."
            )
        if differing:
            caption = f"The sets differ in {', '.join(differing)}. " + caption
        header = ("cell", "first", "second", "difference", "p", "p equal", "pairs")
        if named := said_of(self._far_out(), self.view):
            caption += f" {named}"
        title = f"{self.first.name} and {self.second.name}, cell by cell"
        return Table(name, title, caption, header, [_row(one) for one in self.cells])

    def _far_out(self) -> list[Run]:
        """Return the runs that did not learn and are part of the differences."""
        compared = {(one.cell, seed) for one in self.cells for seed in one.first}
        return [
            run
            for runs in (self.first, self.second)
            for run in far_out(runs, self.view)
            if (run.record.cell, run.record.seed) in compared
        ]


def pairs(first: Sequence[RunSet], later: Sequence[RunSet]) -> list[tuple[RunSet, RunSet]]:
    """Return the pairs of sets to compare: one from the first sweep, one from a later one.

    Each set is paired with the sets of the other side that differ from it in the fewest settings,
    among those that have a cell in common with it.
    """
    distances = {
        (ours, theirs): len(_differing(one, other))
        for theirs, other in enumerate(later)
        for ours, one in enumerate(first)
        if _cells_of_both(one, other)
    }
    least: dict[tuple[str, int], int] = {}
    for (ours, theirs), distance in distances.items():
        for side in (("first", ours), ("later", theirs)):
            least[side] = min(distance, least.get(side, distance))
    return [
        (first[ours], later[theirs])
        for (ours, theirs), distance in distances.items()
        if distance in (least["first", ours], least["later", theirs])
    ]


def pairs_within(sets: Sequence[RunSet]) -> list[tuple[RunSet, RunSet]]:
    """Return the pairs to compare within a sweep: each set with the most similar earlier one.

    Similarity is defined as in :func:`pairs`; among equals, the first set is taken.
    """
    found = []
    for number, one in enumerate(sets):
        if earlier := [other for other in sets[:number] if _cells_of_both(other, one)]:
            nearest = min(earlier, key=lambda other: len(_differing(other, one)))
            found.append((nearest, one))
    return found


def _cells_of_both(first: RunSet, second: RunSet) -> list[str]:
    """Return the cells in both, except those whose common seeds are the same runs."""

    def runs(of: RunSet, cell: str) -> dict[int, str]:
        return {run.record.seed: run.record.identity for run in of.of(cell)}

    found = []
    for cell in first.cells:
        ours, theirs = runs(first, cell), runs(second, cell)
        common = ours.keys() & theirs.keys()
        if theirs and not (common and all(ours[seed] == theirs[seed] for seed in common)):
            found.append(cell)
    return found


def _shared_view(first: RunSet, second: RunSet) -> View:
    """Return the view that both sets rest on, or else the last epoch in common statistics."""
    views = {primary_view(first), primary_view(second)}
    if len(views) == 1:
        return views.pop()
    last = [View(statistics, "last") for statistics in STATISTICS_NAMES]
    return next((view for view in last if first.measured(view) and second.measured(view)), last[0])


def compare_sets(first: RunSet, second: RunSet) -> SetComparison:
    """Compare the cells that both sets have, seed by seed."""
    view, cells = _shared_view(first, second), _cells_of_both(first, second)
    waits = not {*first.awaited, *second.awaited}.isdisjoint(cells)
    sides = {
        cell: _common(first.percents(cell, view), second.percents(cell, view)) for cell in cells
    }
    differences = {cell: _difference(*both) for cell, both in sides.items()}
    tested = {cell: one for cell, one in differences.items() if one and one.df and not waits}
    p = dict(zip(tested, holm([one.p for one in tested.values()]), strict=True))
    equal = {cell: equivalence_p(one, MARGIN) for cell, one in tested.items()}
    compared = [
        CellComparison(cell, *sides[cell], differences[cell], p.get(cell), equal.get(cell))
        for cell in cells
    ]
    return SetComparison(first, second, view, compared, waits)


def _common(
    first: dict[int, float], second: dict[int, float]
) -> tuple[dict[int, float], dict[int, float]]:
    """Return the accuracies of the seeds in both, in the same order."""
    seeds = sorted(first.keys() & second.keys())
    return {seed: first[seed] for seed in seeds}, {seed: second[seed] for seed in seeds}


def _difference(first: dict[int, float], second: dict[int, float]) -> Difference | None:
    """Return second minus first; None without a pair."""
    return paired_difference([*second.values()], [*first.values()]) if first else None


def _row(one: CellComparison) -> list[str]:
    sides = [list(side.values()) for side in (one.first, one.second)]
    accuracies = [plus_minus(values) if values else NOT_APPLICABLE for values in sides]
    said = "no seed in both" if one.difference is None else signed(one.difference)
    seeds = str(len(one.first))
    return [one.cell, *accuracies, said, p_text(one.p), p_text(one.equivalence_p), seeds]


def _differing(first: RunSet, second: RunSet) -> list[str]:
    """Return the settings that both sets have and in which they differ.

    A set of teachers is compared with the teachers of a set with students.
    """
    theirs = second.settings
    differing = [key for key, value in first.settings.items() if theirs.get(key, value) != value]
    return [key for key in differing if key != "model"]
