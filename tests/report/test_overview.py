"""A line a set: what is there, and what could be decided."""

from collections.abc import Callable

from bitstill.report.content import SetReport
from bitstill.report.overview import overview_table, summary
from bitstill.report.sweeps import RunSet


def percent(loss: str, temperature: float | None, seed: int) -> float:
    return 95 + seed / 10 if loss == "teacher" else 89 + seed / 5


def test_a_row_a_set_counts_runs_and_verdicts(make_set: Callable[..., RunSet]) -> None:
    """Of the 14 statements only (f), teacher above student, can be read off these cells."""
    cells = [("teacher", None), ("hard", 15.0)]
    three, one = (SetReport(make_set(percent, seeds=range(n), cells=cells)) for n in (3, 1))
    table = overview_table([three, one])
    assert table.header[3:] == ("reproduced", "contradicted", "undecided", "no verdict", "waiting")
    assert [row[1:] for row in table.rows] == [
        ["6 of 6", "3", "1", "0", "0", "13", "0"],
        ["2 of 2", "1", "0", "0", "0", "14", "0"],
    ]
    counts = "1 reproduced, 0 contradicted, 0 undecided, 13 without a verdict"
    assert summary(three) == f"6 of 6 runs finished, 3 seeds. Of 14 statements: {counts}."
    nothing = "One seed describes and proves nothing: there are no verdicts."
    assert summary(one) == f"2 of 2 runs finished, 1 seed. {nothing}"
