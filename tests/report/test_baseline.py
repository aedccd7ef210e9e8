"""Every student against those trained with ``hard``."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import t, ttest_rel
from statsmodels.stats.multitest import multipletests
from tests.report.conftest import scattered

from bitstill.report.baseline import against_baseline, baseline_of, baseline_table
from bitstill.report.sweeps import RunSet, View

MakeSet = Callable[..., RunSet]
VIEW = View("running", "last")
CELLS = [("teacher", None), ("hard", 15.0), ("hard", 1.0), ("soft", 15.0), ("margin", 20.0)]


def test_other_programs_say_the_same(make_set: MakeSet) -> None:
    """Of a loss of one's own, too; teachers are no students, and the baseline has no row."""
    values: dict[tuple[str, float | None], list[float]] = {
        ("teacher", None): [95.0, 95.0, 95.0],
        ("hard", 15.0): [88.0, 88.5, 89.0],
        ("hard", 1.0): [88.1, 88.3, 89.4],
        ("soft", 15.0): [89.0, 89.6, 90.2],
        ("margin", 20.0): [85.0, 86.5, 84.0],
    }
    runs = make_set(
        lambda loss, value, seed: values[loss, value][seed], seeds=range(3), cells=CELLS
    )
    found = against_baseline(runs, VIEW)
    assert [one.cell for one in found] == ["hard T=1", "soft T=15", "margin T=20"]
    order: list[tuple[str, float | None]] = [("hard", 1.0), ("soft", 15.0), ("margin", 20.0)]
    base = values["hard", 15.0]
    p = [ttest_rel(values[one], base).pvalue for one in order]
    assert [one.p for one in found] == pytest.approx(multipletests(p, method="holm")[1])
    [soft] = [row for row in baseline_table(runs, VIEW).rows if row[0] == "soft T=15"]
    gain = np.array(values["soft", 15.0]) - np.array(base)
    half = t.ppf(0.975, 2) * gain.std(ddof=1) / np.sqrt(3)
    low, high = gain.mean() - half, gain.mean() + half
    assert soft[1:4] == ["88.5 ± 1.2", "89.6 ± 1.5", f"+1.10 [{low:+.2f}, {high:+.2f}]"]


def test_the_baseline_is_hard_at_its_published_temperature_or_at_its_lowest(
    make_set: MakeSet,
) -> None:
    def of(*cells: tuple[str, float]) -> RunSet:
        return make_set(scattered, seeds=range(2), cells=cells)

    assert baseline_of(of(("hard", 1.0), ("hard", 15.0), ("soft", 1.0))) == "hard T=15"
    lowest = of(("hard", 50.0), ("hard", 10.0), ("soft", 10.0))
    table = baseline_table(lowest, VIEW)
    assert table.title == "Every student against hard T=10"
    assert list(table.header[:3]) == ["student", "hard T=10", "accuracy"]
    assert [row[0] for row in table.rows] == ["hard T=50", "soft T=10"]
    without = of(("soft", 15.0), ("soft_hard", 15.0))
    assert baseline_of(without) is None
    assert baseline_table(without, VIEW).rows == []


def test_one_seed_shows_nothing(make_set: MakeSet) -> None:
    assert baseline_table(make_set(scattered, seeds=[0], cells=CELLS), VIEW).rows == []


def test_no_p_is_said_while_a_student_is_awaited(make_set: MakeSet) -> None:
    """Of whichever cell: a row more changes the correction of all."""

    def noisy(loss: str, temperature: float | None, seed: int) -> float:
        return scattered(loss, temperature, seed * len(loss))

    runs = make_set(noisy, seeds=range(3), cells=CELLS)
    waiting = baseline_table(dataclasses.replace(runs, awaited={"soft T=50": 1}), VIEW)
    assert {tuple(row[4:6]) for row in waiting.rows} == {("—", "—")}
    assert "Both p wait for unfinished runs." in waiting.caption
    awaited: dict[str, int]
    for awaited in ({}, {"teacher": 1}):
        table = baseline_table(dataclasses.replace(runs, awaited=awaited), VIEW)
        assert "wait" not in table.caption
        assert table.rows[-1][4] != "—"


def test_runs_that_did_not_learn_are_named(make_set: MakeSet) -> None:
    def lost(loss: str, temperature: float | None, seed: int) -> float:
        return 20.0 if (loss, seed) == ("soft", 1) else scattered(loss, temperature, seed)

    caption = baseline_table(make_set(lost, seeds=range(3), cells=CELLS), VIEW).caption
    assert "No verdict rests on this table. Far below all other students" in caption
    assert "soft T=15 seed 1 (20.0 %)" in caption
