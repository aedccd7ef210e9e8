"""Runs that did not learn are named."""

from collections.abc import Callable

import pytest

from bitstill.report.content import SetReport
from bitstill.report.far_out import far_out, far_out_text, fence
from bitstill.report.sweeps import RunSet, View

VIEW = View("running", "last")
CELLS = [("teacher", None), ("hard", 15.0), ("soft", 15.0)]


@pytest.mark.parametrize(
    ("accuracies", "below"),
    [
        ([88.0, 88.0, 88.0, 88.0], 68.0),  # 20 points, where all are alike
        ([84.0, 86.0, 88.0, 90.0], 87.0 - 20.0),  # as 7 x 2 is less
        ([50.0, 60.0, 80.0, 90.0], 70.0 - 7 * 15.0),
        ([24.0, 88.0, 88.4, 89.0], 88.2 - 20.0),  # one of four
        ([24.0, 22.0, 88.0, 88.4, 89.0, 88.2, 88.0, 88.3], 88.1 - 20.0),  # two of eight
        ([24.0], 4.0),
    ],
)
def test_the_fence(accuracies: list[float], below: float) -> None:
    assert fence(accuracies) == pytest.approx(below)


def test_they_are_named_and_counted(make_set: Callable[..., RunSet]) -> None:
    def percent(loss: str, temperature: float | None, seed: int) -> float:
        return 24.0 if (loss, seed) == ("soft", 3) else 95.0 if loss == "teacher" else 88.0

    runs = make_set(percent, cells=CELLS)
    [run] = far_out(runs, VIEW)
    assert (run.record.cell, run.record.seed) == ("soft T=15", 3)
    assert far_out_text(runs, VIEW) == (
        "Far below all other students, but included in all numbers: soft T=15 seed 3 (24.0 %); "
        "last, running batch norm statistics."
    )
    assert len(runs.percents("soft T=15", VIEW)) == 5


def test_verdicts_without_them_stand_beside_the_others(make_set: Callable[..., RunSet]) -> None:
    def percent(loss: str, temperature: float | None, seed: int) -> float:
        base = {"teacher": 95.0, "hard": 88.0, "soft": 89.0}[loss] + seed / 20
        return 24.0 if (loss, seed) == ("soft", 3) else base + (seed % 2) / 50 * (loss == "soft")

    [table] = [
        one for one in SetReport(make_set(percent, cells=CELLS)).tables if one.name == "robustness"
    ]
    assert table.header[-1] == "learned"
    [row] = [row for row in table.rows if row[0] == "(e) soft at T = 15 above hard"]
    assert set(row[1:-1]) == {"undecided"}
    assert row[-1] == "reproduced"
    assert "Far below all other students, but included in all numbers: soft T=15" in table.caption


def test_where_all_have_learned_nothing_is_left_out(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(lambda loss, _, seed: {"teacher": 95.0}.get(loss, 88.0) + seed, cells=CELLS)
    [table] = [one for one in SetReport(runs).tables if one.name == "robustness"]
    assert "learned" not in table.header
    assert "did not learn" not in table.caption


def test_students_are_not_compared_with_their_teachers(make_set: Callable[..., RunSet]) -> None:
    def percent(loss: str, temperature: float | None, seed: int) -> float:
        return 95.0 if loss == "teacher" else 20.0

    runs = make_set(percent, cells=CELLS)
    assert far_out(runs, VIEW) == []
    assert far_out_text(runs, VIEW) == ""


def test_without_finished_students_there_are_none(make_set: Callable[..., RunSet]) -> None:
    assert far_out(make_set(lambda *_: 95.0, cells=CELLS[:1]), VIEW) == []
