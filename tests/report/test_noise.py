import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.report.conftest import write_run

from bitstill.report.noise import epoch_noise, noise_table
from bitstill.report.sweeps import Run, RunSet, View, read_sweep
from bitstill.runs.curves import write_curves

RUNNING, EXACT = View("running", "best_val"), View("precise", "best_val")


def with_curve(run: Run, percents: Sequence[float]) -> Run:
    rows = [{"epoch": n, "test/accuracy": value / 100} for n, value in enumerate(percents, start=1)]
    write_curves(run.paths, rows)
    return Run(run.paths, run.record)


def test_the_last_quarter_by_hand(tmp_path: Path) -> None:
    write_run(tmp_path, "hard", 15.0, 0, 90.0)
    (run,) = read_sweep(tmp_path)
    curve = [50, 60, 93, 80, 85, 86, 87, 88, 88, 89, 91, 90]
    noise = epoch_noise([with_curve(run, curve)], "running")
    assert noise is not None
    assert noise.epochs == 3
    assert noise.swing == pytest.approx(2)  # 89, 91, 90
    assert noise.deviation == pytest.approx(1)
    assert noise.gain == pytest.approx(93 - 90)


def test_two_epochs_are_too_few(tmp_path: Path) -> None:
    write_run(tmp_path, "hard", 15.0, 0, 90.0)
    (run,) = read_sweep(tmp_path)
    assert epoch_noise([with_curve(run, [80, 90])], "running") is None
    assert epoch_noise([], "running") is None


def test_a_cell_without_finished_runs_says_so(make_set: Callable[..., RunSet]) -> None:
    failed = make_set(lambda *_: 90.0, cells=[("hard", 15.0)], status="failed")
    [row] = noise_table(failed, RUNNING).rows
    assert row == ["hard T=15", *["failed"] * 4, "—", "—"]


def test_what_was_measured_is_shown(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(lambda *_: 90.0, cells=[("hard", 15.0)])
    assert "In points, running statistics" in noise_table(runs, RUNNING).caption
    exact = [
        dataclasses.replace(run.record, selections={"precise": run.record.selections["precise"]})
        for run in runs.runs
    ]
    made = [Run(run.paths, record) for run, record in zip(runs.runs, exact, strict=True)]
    table = noise_table(dataclasses.replace(runs, runs=made), EXACT)
    assert "In points, exact statistics" in table.caption
    expected = ["hard T=15", "2", "0.28", "0.40", "0.20", "0.00", "—"]
    assert [list(row) for row in table.rows] == [expected]


def test_nothing_has_a_minus(make_set: Callable[..., RunSet]) -> None:
    """The mean of equal numbers may be a little larger than they are."""
    runs = make_set(lambda *_: 90.0, cells=[("hard", 15.0)], seeds=[0])
    steady = [with_curve(run, [98.61111111111111] * 12) for run in runs.runs]
    noise = epoch_noise(steady, "running")
    assert noise is not None
    assert noise.gain < 0
    [row] = noise_table(dataclasses.replace(runs, runs=steady), RUNNING).rows
    assert row[2:5] == ["0.00", "0.00", "0.00"]
