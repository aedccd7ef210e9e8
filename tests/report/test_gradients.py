"""The ratio of gradients against formulas worked out by hand, in NumPy."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.report.conftest import write_run

from bitstill.report.gradients import (
    GRID,
    Ratio,
    _measure,
    _measured,
    gradient_ratios,
    keep_ratios,
    mean_over_seeds,
)
from bitstill.report.outputs import Sample, softmax
from bitstill.report.sweeps import Run, RunSet, read_sweep

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(0, 3, (64, 10)), RNG.normal(0, 3, (64, 10))
LABELS = RNG.integers(0, 10, 64)
SAMPLE = Sample(np.zeros((4, 32, 32, 3), np.uint8), LABELS[:4], np.array([40, 7, 9, 31]))


def a_run(folder: Path, loss: str) -> Run:
    write_run(folder, loss, 15.0, 0, 90.0)
    (run,) = read_sweep(folder)
    return run


def test_soft_hard(tmp_path: Path) -> None:
    ratio = _measure(a_run(tmp_path, "soft_hard"), STUDENT, TEACHER, LABELS)
    hard = np.linalg.norm(softmax(STUDENT, 1) - np.eye(10)[LABELS])
    for temperature in GRID:
        soft = softmax(STUDENT, temperature) - softmax(TEACHER, temperature)
        expected = np.linalg.norm(soft) / temperature / hard
        assert ratio.measured[temperature] == pytest.approx(expected)
    assert ratio.measured[GRID[-1]] == pytest.approx(ratio.limit[GRID[-1]], rel=0.02)
    assert ratio.slope == pytest.approx(0, abs=0.1)


def test_gt_soft_hard(tmp_path: Path) -> None:
    ratio = _measure(a_run(tmp_path, "gt_soft_hard"), STUDENT, None, LABELS)
    labels = np.eye(10)[LABELS]
    hard = np.linalg.norm(softmax(STUDENT, 1) - labels)
    for temperature in GRID:
        tempered = np.linalg.norm(softmax(STUDENT, temperature) - labels) / temperature
        assert ratio.measured[temperature] == pytest.approx(tempered / hard)
    assert ratio.measured[GRID[-1]] == pytest.approx(ratio.limit[GRID[-1]], rel=0.02)
    assert ratio.slope == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("kind", "expected"), [("measured", 2.0), ("limit", 6.0)])
def test_the_mean_over_seeds_is_geometric(kind: str, expected: float) -> None:
    ratios = [
        Ratio("soft_hard", seed, {10.0: value}, {10.0: 3 * value})
        for seed, value in enumerate((1.0, 4.0))
    ]
    assert mean_over_seeds(ratios, kind, 10.0) == pytest.approx(expected)


@pytest.fixture
def has_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitstill.report.gradients.logits", lambda run, images: STUDENT[:4])


@pytest.mark.usefixtures("has_weights")
def test_the_teachers_logits_are_those_of_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitstill.report.gradients.teacher_logits", lambda run: TEACHER)
    run = a_run(tmp_path, "soft_hard")
    expected = _measure(run, STUDENT[:4], TEACHER[[40, 7, 9, 31]], LABELS[:4])
    assert _measured(run, SAMPLE) == expected


@pytest.mark.usefixtures("has_weights")
@pytest.mark.parametrize(("loss", "is_measured"), [("soft_hard", False), ("gt_soft_hard", True)])
def test_without_teacher_logits_only_the_ground_truth_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str, is_measured: bool
) -> None:
    monkeypatch.setattr("bitstill.report.gradients.teacher_logits", lambda run: None)
    found = _measured(a_run(tmp_path, loss), SAMPLE)
    assert (found is not None) == is_measured


@pytest.fixture
def splits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that samples are asked of; their images are not at hand."""
    asked: list[str] = []
    monkeypatch.setattr(
        "bitstill.report.gradients.sampled", lambda images, split, count: asked.append(split)
    )
    return asked


def test_what_is_measured_is_measured_on_training_images(
    make_set: Callable[..., RunSet], splits: list[str]
) -> None:
    runs = make_set(lambda *_: 90.0, seeds=[0], cells=[("soft_hard", 15.0)])
    gradient_ratios(runs, None)
    assert splits == ["train"]


def test_what_is_kept_is_measured_on_training_images(tmp_path: Path, splits: list[str]) -> None:
    keep_ratios([a_run(tmp_path, "soft_hard")], [tmp_path / "gradients.json"])
    assert splits == ["train"]


def test_what_was_kept_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, kept = a_run(tmp_path, "soft_hard"), tmp_path / "gradients.json"
    kept.write_text("as it was")
    monkeypatch.setattr(
        "bitstill.report.gradients._measured", lambda run, sample: pytest.fail("measured again")
    )
    keep_ratios([run], [kept])
    assert kept.read_text() == "as it was"


def test_only_losses_of_two_terms_at_the_published_temperature_are_kept(
    make_set: Callable[..., RunSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [(loss, t) for loss in ("soft", "soft_hard") for t in (10.0, 15.0, 50.0)]
    runs = make_set(lambda *_: 90.0, seeds=[0], cells=cells).runs
    anything = Ratio("soft_hard", 0, dict.fromkeys(GRID, 1.0), dict.fromkeys(GRID, 1.0))
    monkeypatch.setattr("bitstill.report.gradients._measured", lambda run, sample: anything)
    keep_ratios(runs, [tmp_path / f"{run.record.cell}.json" for run in runs])
    assert [path.stem for path in tmp_path.glob("*.json")] == ["soft_hard T=15"]
