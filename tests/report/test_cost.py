"""Cost against arithmetic by hand."""

from collections.abc import Callable

from bitstill.report.cost import cost_table, official_table
from bitstill.report.sweeps import RunSet

CELLS = [("teacher", None), ("hard", 15.0), ("soft", 10.0), ("soft", 15.0), ("soft", 50.0)]


def percent(loss: str, temperature: float | None, seed: int) -> float:
    return 90.0


def test_cost_adds_up(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(percent, seeds=range(3), cells=CELLS, images_per_second=500.0)
    seconds = 3.0 * 15
    assert cost_table(runs).rows[-1][:3] == ["all", "15", f"{seconds / 3600:.1f}"]
    teacher, student, whole = official_table(runs).rows
    hours = 73_257 * 8 / 500 / 3600  # the made-up runs have 8 epochs and name no validation share
    assert teacher == ["teacher", "5", f"{hours:.1f}", f"{5 * hours:.0f}"]
    assert student == ["student", "70", f"{hours:.1f}", f"{70 * hours:.0f}"]
    assert whole[-1] == f"{75 * hours:.0f}"


def test_nothing_finished_has_cost_nothing(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(percent, seeds=[0], cells=CELLS, status="running")
    assert cost_table(runs).rows == []


def test_cost_of_the_official_split_waits_for_a_student(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(percent, seeds=[0], cells=CELLS[:1], images_per_second=500.0)
    assert [row[-1] for row in official_table(runs).rows] == [
        f"{5 * 73_257 * 8 / 500 / 3600:.0f}",
        *["no finished run yet"] * 2,
    ]
