"""Learning curves: what was measured is drawn, and nothing else."""

from pathlib import Path

import pytest
from tests.report.conftest import write_run

from bitstill.report.figures.curves import curve_figures
from bitstill.report.figures.figure import to_svg
from bitstill.report.sets import run_sets
from bitstill.report.sweeps import RunSet, read_sweep
from bitstill.runs import RunPaths
from bitstill.runs.curves import read_curves, write_curves


def panels(runs: RunSet) -> list[str]:
    (figure,) = curve_figures(runs)
    assert figure.spec is not None
    return [panel["layer"][0]["encoding"]["y"]["field"] for panel in figure.spec["concat"]]


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return write_run(tmp_path, "soft", 15.0, 0, 90.0)


def read(paths: RunPaths) -> RunSet:
    (runs,) = run_sets(read_sweep(paths.directory.parent))
    return runs


def without(paths: RunPaths, column: str) -> RunSet:
    rows = [
        {name: value for name, value in row.items() if name != column} for row in read_curves(paths)
    ]
    write_curves(paths, rows)
    return read(paths)


def test_training_and_test_are_side_by_side(paths: RunPaths) -> None:
    runs = read(paths)
    assert panels(runs) == ["loss", "train", "running", "exact"]
    (figure,) = curve_figures(runs)
    assert figure.rows[6] == {
        **{"T": "15", "seed": 0, "status": "done", "epoch": 7, "loss": pytest.approx(1 / 7)},
        **{"train": 90.0, "running": 90.4, "exact": 90.4},
    }


def test_the_mean_is_of_finished_runs(paths: RunPaths) -> None:
    write_run(paths.directory.parent, "soft", 15.0, 1, 10.0, status="failed")
    (figure,) = curve_figures(read(paths))
    assert figure.spec is not None
    assert {row["status"] for row in figure.rows} == {"done", "failed"}, "thin lines"
    for panel in figure.spec["concat"]:
        thin, mean = panel["layer"]
        only_done = {"filter": "datum.status == 'done'"}
        assert only_done in mean["transform"]
        assert only_done not in thin["transform"]


def test_without_a_finished_run_there_is_no_mean(tmp_path: Path) -> None:
    (figure,) = curve_figures(read(write_run(tmp_path, "soft", 15.0, 0, 90.0, status="running")))
    assert figure.spec is not None
    assert {len(panel["layer"]) for panel in figure.spec["concat"]} == {1}


@pytest.mark.parametrize(("epochs", "has_points"), [(1, True), (2, False)])
def test_an_epoch_alone_is_a_point(paths: RunPaths, epochs: int, has_points: bool) -> None:
    write_curves(paths, read_curves(paths)[:epochs])
    for runs in (read(paths), without(paths, "train/accuracy")):
        (figure,) = curve_figures(runs)
        assert figure.spec is not None
        layers = [layer for panel in figure.spec["concat"] for layer in panel["layer"]]
        assert {layer["mark"]["point"] for layer in layers} == {has_points}


def test_an_older_record_has_no_training_accuracy(paths: RunPaths) -> None:
    assert panels(without(paths, "train/accuracy")) == ["loss", "running", "exact"]


def test_exact_statistics_may_be_off(paths: RunPaths) -> None:
    assert panels(without(paths, "test/accuracy_precise")) == ["loss", "train", "running"]


def test_curves_without_a_loss_have_a_legend_that_filters(paths: RunPaths) -> None:
    (figure,) = curve_figures(without(paths, "train/loss"))
    assert to_svg(figure).startswith("<svg")


def test_curves_without_an_accuracy_are_of_the_loss(paths: RunPaths) -> None:
    write_curves(paths, [{"epoch": 1, "train/loss": 2.0}])
    assert panels(read(paths)) == ["loss"]
    write_curves(paths, [{"epoch": 1}])
    assert curve_figures(read(paths)) == []
