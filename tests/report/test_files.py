"""What is read from weights: sizes, and the figures of real quantized layers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.report.conftest import write_run

from bitstill.models import Student, Teacher
from bitstill.report.figures.soft_targets import _sharpness
from bitstill.report.figures.weights import weight_figures
from bitstill.report.sets import run_sets
from bitstill.report.sizes import model_sizes
from bitstill.report.sweeps import RunSet, read_sweep
from bitstill.training.weights import save_weights

SIZES = {"checkpoint": 3_500_000, "float32": 1_173_672, "deployed": 79_828}


@pytest.fixture
def runs(tmp_path: Path) -> RunSet:
    torch.manual_seed(0)
    for loss, temperature, network in (("teacher", None, Teacher()), ("hard", 15.0, Student())):
        paths = write_run(tmp_path, loss, temperature, 0, 90.0, sizes=SIZES)
        save_weights(network, paths.weights, {})
    (found,) = run_sets(read_sweep(tmp_path))
    return found


def test_sizes_are_the_recorded_ones(runs: RunSet) -> None:
    found = model_sizes(list(runs.runs))
    assert found == {"teacher": SIZES, "student": SIZES}


def test_sizes_of_an_older_record_are_missing(tmp_path: Path) -> None:
    write_run(tmp_path, "hard", 15.0, 0, 90.0, sizes={"checkpoint": 3_500_000})
    (found,) = run_sets(read_sweep(tmp_path))
    assert model_sizes(list(found.runs)) == {}


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


def test_soft_targets_go_from_labels_to_uniform() -> None:
    rows = _sharpness(np.array([[40.0, 0.0, 0.0, 0.0], [0.0, 40.0, 0.0, 0.0]]))
    entropy = [float(row["value"] or 0) for row in rows if str(row["measure"]).startswith("ent")]
    largest = [float(row["value"] or 0) for row in rows if str(row["measure"]).startswith("larg")]
    assert entropy == sorted(entropy)
    assert largest == sorted(largest, reverse=True)
    assert entropy[0] == pytest.approx(0, abs=1e-6)
    assert largest[0] == pytest.approx(1)
    assert largest[-1] == pytest.approx(np.exp(0.2) / (np.exp(0.2) + 3))  # T = 200
