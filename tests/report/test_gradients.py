"""The ratio of gradients against formulas worked out by hand, in NumPy."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitstill.report.gradients import GRID, _measure
from bitstill.report.outputs import softmax
from bitstill.report.sweeps import Run, read_sweep
from bitstill.runs import RunPaths

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(0, 3, (64, 10)), RNG.normal(0, 3, (64, 10))
LABELS = RNG.integers(0, 10, 64)


def a_run(write_run: Callable[..., RunPaths], folder: Path, loss: str) -> Run:
    write_run(folder, loss, 15.0, 0, 90.0)
    (run,) = read_sweep(folder)
    return run


def test_soft_hard(write_run: Callable[..., RunPaths], tmp_path: Path) -> None:
    ratio = _measure(a_run(write_run, tmp_path, "soft_hard"), STUDENT, TEACHER, LABELS)
    hard = np.linalg.norm(softmax(STUDENT, 1) - np.eye(10)[LABELS])
    for temperature in GRID:
        soft = softmax(STUDENT, temperature) - softmax(TEACHER, temperature)
        expected = np.linalg.norm(soft) / temperature / hard
        assert ratio.measured[temperature] == pytest.approx(expected)
    assert ratio.measured[GRID[-1]] == pytest.approx(ratio.limit[GRID[-1]], rel=0.02)
    assert ratio.slope == pytest.approx(0, abs=0.1)


def test_gt_soft_hard(write_run: Callable[..., RunPaths], tmp_path: Path) -> None:
    ratio = _measure(a_run(write_run, tmp_path, "gt_soft_hard"), STUDENT, None, LABELS)
    labels = np.eye(10)[LABELS]
    hard = np.linalg.norm(softmax(STUDENT, 1) - labels)
    for temperature in GRID:
        tempered = np.linalg.norm(softmax(STUDENT, temperature) - labels) / temperature
        assert ratio.measured[temperature] == pytest.approx(tempered / hard)
    assert ratio.measured[GRID[-1]] == pytest.approx(ratio.limit[GRID[-1]], rel=0.02)
    assert ratio.slope == pytest.approx(1, abs=0.1)
