"""The gradients of a loss's two terms at the logits, measured against T."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING

import numpy as np

from bitstill.data import ImageData
from bitstill.files import write_atomically
from bitstill.reading import fits, loads, reading
from bitstill.report.outputs import Floats, Sample, images_of, logits, sampled, teacher_logits
from bitstill.report.published import HARD_TEMPERATURE, TEMPERATURES, TWO_TERMS
from bitstill.report.sweeps import Run, RunSet
from bitstill.runs.identity import cell_name

if TYPE_CHECKING:
    import torch

GRID = tuple(sorted({*np.geomspace(1, 200, 30).tolist(), *TEMPERATURES}))
_IMAGES = 256
_CELLS = tuple(cell_name(loss, HARD_TEMPERATURE) for loss in TWO_TERMS)  # of students to measure
_KEPT = ("measured", "limit")


@dataclass(frozen=True)
class Ratio:
    """Gradient norm of the tempered term over that of the hard term, for c = 1, at each T.

    Attributes:
        loss: one with two terms.
        seed: that of the student whose logits were taken.
        measured: by T, from autograd of the losses themselves.
        limit: by T, as theory predicts for large T.
    """

    loss: str
    seed: int
    measured: dict[float, float]
    limit: dict[float, float]

    @property
    def slope(self) -> float:
        """The exponent of T in c x ratio under c = T^2, by least squares over the published T."""
        x = [math.log(one) for one in TEMPERATURES]
        y = [math.log(one**2 * self.measured[one]) for one in TEMPERATURES]
        slope, _ = np.polyfit(x, y, 1)
        return float(slope)


def gradient_ratios(runs: RunSet, images: ImageData | None) -> list[Ratio]:
    """Measure every seed's student at T = 15 for both losses of two terms.

    One student serves for all T: its logits and its teacher's are fixed and only T changes, as in
    the argument for c = T^2. Students without weights, images or teacher logits are left out,
    unless their ratio was kept beside the record.
    """
    sample = sampled(images, "train", _IMAGES)
    students = [run for cell in _CELLS for run in runs.done(cell)]
    found = [_kept(run) or _measured(run, sample) for run in students]
    return [one for one in found if one is not None]


def keep_ratios(runs: Sequence[Run], targets: Sequence[Path]) -> None:
    """Measure the ratios of finished runs and write them, each to its file.

    Existing files stay, since a run's ratio does not change. Runs without weights, images or
    teacher logits get no file.
    """
    wanted = [
        (run, target)
        for run, target in zip(runs, targets, strict=True)
        if run.record.cell in _CELLS and not target.exists()
    ]
    samples: dict[str, Sample | None] = {}
    for run, target in wanted:
        if run.record.data_identity not in samples:
            samples[run.record.data_identity] = sampled(images_of([run]), "train", _IMAGES)
        ratio = _kept(run) or _measured(run, samples[run.record.data_identity])
        if ratio is not None:
            lists = {name: [getattr(ratio, name)[t] for t in GRID] for name in _KEPT}
            write_atomically(target, json.dumps({"T": GRID, **lists}).encode() + b"\n")


def _kept(run: Run) -> Ratio | None:
    """Return the ratio kept from a measurement with weights and images; None without one."""
    path = run.paths.gradients
    if not path.exists():
        return None
    with reading(path, "move it away"):
        plain = loads(path.read_bytes())
        if not np.allclose(plain["T"], GRID):
            raise ValueError("it is of other temperatures")
        if not all(fits(one, float) and one > 0 for name in _KEPT for one in plain[name]):
            raise ValueError("a ratio in it is not a number above 0")
        measured, limit = (dict(zip(GRID, plain[name], strict=True)) for name in _KEPT)
    return Ratio(run.record.loss, run.record.seed, measured, limit)


def _measured(run: Run, sample: Sample | None) -> Ratio | None:
    if sample is None:
        return None
    student, stored = logits(run, sample.images), teacher_logits(run)
    teacher = None if stored is None else stored[sample.indices].astype(np.float64)
    if student is None or (teacher is None and run.record.loss != "gt_soft_hard"):
        return None
    return _measure(run, student, teacher, sample.labels)


def _measure(run: Run, student: Floats, teacher: Floats | None, labels: np.ndarray) -> Ratio:
    import torch

    from bitstill import losses

    z, y = torch.from_numpy(student), torch.from_numpy(labels)
    v = None if teacher is None else torch.from_numpy(teacher)

    def tempered(temperature: float, logits: torch.Tensor) -> torch.Tensor:
        if run.record.loss == "soft_hard" and v is not None:
            return losses.soft(logits, v, temperature=temperature)
        return losses.hard(logits, y, temperature=temperature)

    hard = _norm(z, lambda logits: losses.hard(logits, y, temperature=1))
    measured = {t: _norm(z, functools.partial(tempered, t)) / hard for t in GRID}
    return Ratio(run.record.loss, run.record.seed, measured, _limit(student, teacher, labels, hard))


def _norm(logits: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Return the Frobenius norm of a loss's gradient with respect to all logits of the sample."""
    import torch

    leaf = logits.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    return float(gradient.norm())


def _limit(
    student: Floats, teacher: Floats | None, labels: np.ndarray, hard: float
) -> dict[float, float]:
    """Return the theoretical ratio for large T.

    soft: (s(z/T) - s(v/T)) / T -> (z' - v') / (K T^2) with z', v' of zero mean and K classes, which
    falls as 1/T^2. Ground truth: (s(z/T) - y) / T -> (1/K - y) / T, which falls only as 1/T.
    """
    count, classes = student.shape
    if teacher is None:
        target = np.eye(classes)[labels]
        size = float(np.linalg.norm(1 / classes - target)) / count
        return {t: size / t / hard for t in GRID}
    centred = [one - one.mean(axis=1, keepdims=True) for one in (student, teacher)]
    size = float(np.linalg.norm(centred[0] - centred[1])) / classes / count
    return {t: size / t**2 / hard for t in GRID}


def slopes(ratios: Sequence[Ratio]) -> dict[str, list[float]]:
    """Return each loss's exponents of T under c = T^2, one per seed."""
    found: dict[str, list[float]] = {}
    for ratio in ratios:
        found.setdefault(ratio.loss, []).append(ratio.slope)
    return found


def mean_over_seeds(ratios: Sequence[Ratio], kind: str, temperature: float) -> float:
    """Return the geometric mean of ``measured`` or ``limit`` at a T."""
    return geometric_mean(getattr(ratio, kind)[temperature] for ratio in ratios)
