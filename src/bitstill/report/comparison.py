"""Two sweeps side by side: the same cells, and their paired differences."""

from collections.abc import Sequence

from bitstill.report.sweeps import RunSet, View
from bitstill.report.table import NOT_APPLICABLE, Table, p_text, plus_minus
from bitstill.statistics import MARGIN, Difference, equivalence_p, holm, paired_difference


def comparison_table(first: RunSet, second: RunSet, view: View, name: str) -> Table:
    """Return the cells that both sets have, compared seed by seed."""
    cells = [cell for cell in first.cells if cell in second.cells]
    pairs = [(first.percents(cell, view), second.percents(cell, view)) for cell in cells]
    differences = [_difference(*pair) for pair in pairs]
    tested = [one for one in differences if one is not None and one.df]
    corrected = dict(zip(map(id, tested), holm([one.p for one in tested]), strict=True))
    rows = [
        [
            cell,
            *(plus_minus(list(values.values())) if values else "missing" for values in pair),
            *_texts(difference, corrected.get(id(difference))),
        ]
        for cell, pair, difference in zip(cells, pairs, differences, strict=True)
    ]
    caption = (
        f"Test accuracy in % ({view.label} batch norm). difference: second minus first over the "
        "seeds in both, with 95 % t interval, in points. p: paired t test, Holm over the cells. "
        f"p equal: of a difference of at least {MARGIN:g} points (two one-sided tests); small "
        "means that they are practically equal."
    )
    differing = _differing(first, second)
    if differing:
        caption = f"The sets differ in {', '.join(differing)}. " + caption
    header = ("cell", "first", "second", "difference", "p", "p equal", "pairs")
    title = f"{first.name} and {second.name}, cell by cell"
    return Table(name, title, caption, header, rows)


def _difference(first: dict[int, float], second: dict[int, float]) -> Difference | None:
    """Return second minus first over the seeds in both; None without such."""
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    return paired_difference([second[s] for s in seeds], [first[s] for s in seeds])


def _texts(difference: Difference | None, p: float | None) -> Sequence[str]:
    """Return a difference with its interval, both p and the number of pairs."""
    if difference is None:
        return "no seed in both", NOT_APPLICABLE, NOT_APPLICABLE, "0"
    estimate, low, high = difference.interval()
    if p is None:
        return f"{estimate:+.2f}", NOT_APPLICABLE, NOT_APPLICABLE, str(difference.n)
    equal = equivalence_p(difference, MARGIN)
    limits = f"{estimate:+.2f} [{low:+.2f}, {high:+.2f}]"
    return limits, p_text(p), p_text(equal), str(difference.n)


def _differing(first: RunSet, second: RunSet) -> list[str]:
    """Return the settings in which two sets differ, of those that both have."""
    theirs = second.settings
    return [key for key, value in first.settings.items() if theirs.get(key, value) != value]
