"""The figures of real quantized layers."""

from pathlib import Path

import pytest
import torch
from tests.report.conftest import write_run

from bitstill.models import Student, Teacher
from bitstill.report.figures.weights import weight_figures
from bitstill.report.sets import run_sets
from bitstill.report.sweeps import RunSet, read_sweep
from bitstill.training.weights import save_weights


@pytest.fixture
def runs(tmp_path: Path) -> RunSet:
    torch.manual_seed(0)
    for loss, temperature, network in (("teacher", None, Teacher()), ("hard", 15.0, Student())):
        paths = write_run(tmp_path, loss, temperature, 0, 90.0)
        save_weights(network, paths.weights, {})
    (found,) = run_sets(read_sweep(tmp_path))
    return found


def test_weight_figures(runs: RunSet) -> None:
    steps, shares = weight_figures(runs)
    layers = {row["layer"] for row in steps.rows}
    assert len(layers) == 7
    for layer in layers:
        levels = {str(row["level"]) for row in shares.rows if row["layer"] == layer}
        assert levels == {"-1", "-0.333", "0.333", "1"}
        total = sum(float(row["share"] or 0) for row in shares.rows if row["layer"] == layer)
        assert total == pytest.approx(1)
        by_step: dict[str, int] = {}
        for row in steps.rows:
            if row["layer"] == layer:
                name = str(row["step"])
                by_step[name] = by_step.get(name, 0) + int(row["weights"] or 0)
        assert len(by_step) == 5
        assert len(set(by_step.values())) == 1  # no step loses a weight
