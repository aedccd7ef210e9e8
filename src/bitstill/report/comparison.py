"""Two sweeps side by side: the same cells, and their paired differences."""

from collections.abc import Collection, Sequence

from bitstill.report.sweeps import RunSet, View
from bitstill.report.table import NOT_APPLICABLE, Table, p_text, plus_minus
from bitstill.statistics import MARGIN, Difference, equivalence_p, holm, paired_difference


def comparison_table(
    first: RunSet, second: RunSet, view: View, name: str, *, awaited: Collection[str] = ()
) -> Table:
    """Return the cells that both sets have, compared seed by seed.

    Args:
        first: a set.
        second: another.
        view: the accuracy.
        name: of the table.
        awaited: cells with runs that are still to come; with one of them among those that are
            compared there is no p, which would depend on when one looks.
    """
    cells = [cell for cell in first.cells if cell in second.cells]
    pairs = [_common(first.percents(cell, view), second.percents(cell, view)) for cell in cells]
    differences = [_difference(*pair) for pair in pairs]
    waits = not set(awaited).isdisjoint(cells)
    tested = [one for one in differences if one is not None and one.df and not waits]
    corrected = dict(zip(map(id, tested), holm([one.p for one in tested]), strict=True))
    rows = [
        [
            cell,
            *(plus_minus(values) if values else NOT_APPLICABLE for values in pair),
            *_texts(difference, corrected.get(id(difference))),
        ]
        for cell, pair, difference in zip(cells, pairs, differences, strict=True)
    ]
    caption = (
        f"Test accuracy in % ({view.label} batch norm) over the seeds in both. difference: second "
        "minus first, with 95 % t interval, in points. p: paired t test, Holm over the cells. "
        f"p equal: of a difference of at least {MARGIN:g} points (two one-sided tests); small "
        "means that they are practically equal."
    ) + waits * " Both wait for the runs that are still to come."
    differing = _differing(first, second)
    if "data_identity" in differing:
        caption += " Both hold the images of each set as they are: others would differ further."
    if differing:
        caption = f"The sets differ in {', '.join(differing)}. " + caption
    header = ("cell", "first", "second", "difference", "p", "p equal", "pairs")
    title = f"{first.name} and {second.name}, cell by cell"
    return Table(name, title, caption, header, rows)


def _common(
    first: dict[int, float], second: dict[int, float]
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the numbers of the seeds that both have, in one order."""
    seeds = sorted(first.keys() & second.keys())
    return [first[seed] for seed in seeds], [second[seed] for seed in seeds]


def _difference(first: Sequence[float], second: Sequence[float]) -> Difference | None:
    """Return second minus first; None without a pair."""
    return paired_difference(second, first) if first else None


def _texts(difference: Difference | None, p: float | None) -> Sequence[str]:
    """Return a difference with its interval, both p and the number of pairs."""
    if difference is None:
        return "no seed in both", NOT_APPLICABLE, NOT_APPLICABLE, "0"
    estimate, low, high = difference.interval()
    limits = f" [{low:+.2f}, {high:+.2f}]" if difference.df else ""
    equal = None if p is None else equivalence_p(difference, MARGIN)
    return f"{estimate:+.2f}{limits}", p_text(p), p_text(equal), str(difference.n)


def _differing(first: RunSet, second: RunSet) -> list[str]:
    """Return the settings in which two sets differ, of those that both have.

    A set of teachers is compared with the teachers of a set with students.
    """
    theirs = second.settings
    differing = [key for key, value in first.settings.items() if theirs.get(key, value) != value]
    return [key for key in differing if key != "model"]
