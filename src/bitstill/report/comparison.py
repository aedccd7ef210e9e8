"""Two sweeps side by side: the same cells, and their paired differences."""

from dataclasses import dataclass

from bitstill.report.sweeps import INSIDE, SELECTIONS, STATISTICS, RunSet, View
from bitstill.report.table import NOT_APPLICABLE, Table
from bitstill.statistics import (
    MARGIN,
    Difference,
    equivalence_p,
    holm,
    mean_interval,
    paired_difference,
)


@dataclass(frozen=True)
class CellDifference:
    """A cell in two sets.

    Attributes:
        cell: its name.
        first: accuracies of the first set in percent, by seed.
        second: of the second.
        difference: second minus first over the seeds in both; None without such.
        p: two-sided, corrected for the number of cells (Holm); None without two such seeds.
        equivalence_p: of "they differ by at least 0.1 points", not corrected; None like ``p``.
    """

    cell: str
    first: dict[int, float]
    second: dict[int, float]
    difference: Difference | None
    p: float | None
    equivalence_p: float | None


def compare(first: RunSet, second: RunSet, view: View) -> list[CellDifference]:
    """Compare the cells that both sets have, seed by seed."""
    found = []
    for cell in first.cells:
        if cell in second.cells:
            ours, theirs = first.percents(cell, view), second.percents(cell, view)
            seeds = sorted(ours.keys() & theirs.keys())
            difference = (
                paired_difference([theirs[s] for s in seeds], [ours[s] for s in seeds])
                if seeds
                else None
            )
            found.append((cell, ours, theirs, difference))
    tested = [difference for *_, difference in found if difference is not None and difference.df]
    corrected = iter(holm([difference.p for difference in tested]))
    return [
        CellDifference(
            cell,
            ours,
            theirs,
            difference,
            next(corrected) if difference is not None and difference.df else None,
            equivalence_p(difference, MARGIN) if difference is not None and difference.df else None,
        )
        for cell, ours, theirs, difference in found
    ]


def comparison_table(first: RunSet, second: RunSet, view: View, name: str) -> Table:
    """Return the comparison as a table."""
    rows = []
    for one in compare(first, second, view):
        seeds = 0 if one.difference is None else one.difference.n
        rows.append(
            [
                one.cell,
                _mean(one.first),
                _mean(one.second),
                _interval(one.difference),
                NOT_APPLICABLE if one.p is None else f"{one.p:.3f}",
                NOT_APPLICABLE if one.equivalence_p is None else f"{one.equivalence_p:.3f}",
                str(seeds),
            ]
        )
    caption = (
        f"Test accuracy in % ({SELECTIONS[view.selection]}, {STATISTICS[view.statistics]} batch "
        "norm). difference: second minus first over the seeds in both, with 95 % t interval, in "
        f"points. p: paired t test, Holm over the cells. p equal: of a difference of at least "
        f"{MARGIN:g} points (two one-sided tests); small means that they are practically equal."
    )
    differing = _differing(first, second)
    if differing:
        caption = f"The sets differ in {', '.join(differing)}. " + caption
    header = ("cell", "first", "second", "difference", "p", "p equal", "pairs")
    title = f"{first.name} and {second.name}, cell by cell"
    return Table(name, title, caption, header, rows)


def _differing(first: RunSet, second: RunSet) -> list[str]:
    """Return the settings in which two sets differ, beside what varies inside a set."""
    ours, theirs = first.runs[-1].record.config, second.runs[-1].record.config
    return [
        key
        for key in sorted(ours.keys() & theirs.keys())
        if key not in INSIDE and ours[key] != theirs[key]
    ] + [
        key
        for key in ("quantizer", "teacher")
        if _without_seed(ours[key]) != _without_seed(theirs[key])
    ]


def _without_seed(settings: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in settings.items() if key != "seed"}


def _mean(values: dict[int, float]) -> str:
    if not values:
        return "missing"
    interval = mean_interval(list(values.values()))
    if len(values) == 1:
        return f"{interval.estimate:.1f}"
    return f"{interval.estimate:.1f} ± {interval.half_width:.1f}"


def _interval(difference: Difference | None) -> str:
    if difference is None:
        return "no seed in both"
    estimate, low, high = difference.interval()
    return f"{estimate:+.2f}" + (f" [{low:+.2f}, {high:+.2f}]" if difference.df else "")
