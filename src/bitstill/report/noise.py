"""Epoch noise: how far test accuracy swings at the end, and what choosing the best epoch gains."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev

from bitstill.report.sweeps import Run

LATE_SHARE = 0.25


@dataclass(frozen=True)
class EpochNoise:
    """Of one cell, each number the mean over its runs; in percentage points.

    Attributes:
        epochs: late epochs that were looked at, the last quarter.
        deviation: standard deviation of test accuracy over them.
        swing: the highest minus the lowest.
        gain: the best of all epochs on the test set, minus the mean of the late ones: what a run
            gains by selection alone.
    """

    epochs: int
    deviation: float
    swing: float
    gain: float


def epoch_noise(runs: Iterable[Run], statistics: str) -> EpochNoise | None:
    """Measure the noise of a cell; None where no run has at least two late epochs.

    Args:
        runs: finished runs of one cell.
        statistics: of batch norm, ``running`` or ``precise``.
    """
    column = "test/accuracy" + ("" if statistics == "running" else f"_{statistics}")
    found = []
    for run in runs:
        curve = [100 * row[column] for row in run.curves if column in row]
        late = curve[-max(2, math.ceil(LATE_SHARE * len(curve))) :]
        if len(curve) > 2:
            gain = max(curve) - fmean(late)
            found.append(EpochNoise(len(late), stdev(late), max(late) - min(late), gain))
    if not found:
        return None
    return EpochNoise(
        found[0].epochs,
        *(fmean(getattr(one, name) for one in found) for name in ("deviation", "swing", "gain")),
    )
