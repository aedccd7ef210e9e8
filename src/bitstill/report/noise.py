"""Epoch noise: how far test accuracy swings at the end, and what choosing the best epoch gains."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev

from bitstill.curves import under
from bitstill.report import published
from bitstill.report.sweeps import STATISTICS, Run, RunSet, View
from bitstill.report.table import NOT_APPLICABLE, Table, or_dash
from bitstill.report.tables import unfinished
from bitstill.runs import RunRecord

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
    """Measure the noise of a cell; None where no run has at least three epochs.

    Args:
        runs: finished runs of one cell.
        statistics: of batch norm, ``running`` or ``precise``.
    """
    column = under("test/accuracy", statistics)
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


def noise_table(runs: RunSet, view: View) -> Table:
    """Return how test accuracy swings over the late epochs, and what the best epoch gains."""
    rows, statistics = [], view.statistics
    for cell in runs.cells:
        noise = epoch_noise(runs.done(cell), statistics)
        if noise is None:
            why = "too few epochs" if runs.done(cell) else unfinished(runs, cell)
            rows.append([cell, *[why] * 4, NOT_APPLICABLE])
            continue
        gap = _published_gap(runs.of(cell)[0].record)
        numbers = [f"{one:.2f}" for one in (noise.deviation, noise.swing, noise.gain)]
        rows.append([cell, str(noise.epochs), *numbers, or_dash(gap, ".1f")])
    caption = (
        f"In points, {STATISTICS[statistics]} statistics, the mean over runs. Late epochs: the "
        "last quarter. gain: the best of all epochs on the test set minus the mean of the late "
        "ones, which no method earned. gap: published, this loss at T = 15 minus this T; at T = "
        "15, minus hard. Both numbers of a gap carry such a gain, and each differs from it by "
        "chance."
    )
    header = ("cell", "late epochs", "deviation", "swing", "gain", "gap")
    return Table(
        "noise", "Epoch noise: what choosing the best epoch picks up", caption, header, rows
    )


def _published_gap(record: RunRecord) -> float | None:
    """Return what the published tables have between a cell and the one that it is held against."""
    known = published.ACCURACIES.get(record.loss, {})
    if record.is_teacher or record.loss == "hard" or record.temperature not in known:
        return None
    best = known[published.HARD_TEMPERATURE]
    if record.temperature == published.HARD_TEMPERATURE:
        return best - published.HARD_ACCURACY
    return best - known[record.temperature]
