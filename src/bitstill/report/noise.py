"""Noise over late epochs and over seeds, and the gain from choosing the best epoch."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev

from bitstill.report import published
from bitstill.report.far_out import far_out_text
from bitstill.report.sweeps import STATISTICS_NAMES, Run, RunSet, View
from bitstill.report.table import NOT_APPLICABLE, Table, or_dash
from bitstill.report.tables import unfinished
from bitstill.runs import RunRecord
from bitstill.runs.curves import under

LATE_SHARE = 0.25


@dataclass(frozen=True)
class EpochNoise:
    """The noise of one cell in percentage points, each number averaged over its runs.

    Attributes:
        epochs: number of late epochs, which are the last quarter.
        deviation: standard deviation of test accuracy over them.
        swing: the highest test accuracy among them minus the lowest.
        gain: the best of all epochs on the test set, minus the mean of the late ones.
    """

    epochs: int
    deviation: float
    swing: float
    gain: float


def epoch_noise(runs: Iterable[Run], statistics: str) -> EpochNoise | None:
    """Measure the noise of a cell; None if no run has at least three epochs.

    Args:
        runs: finished runs of one cell.
        statistics: ``running`` or ``precise`` batch norm statistics.
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
    """Return the noise of test accuracy over late epochs and over seeds, beside published gaps."""
    rows, statistics = [], view.statistics
    best = View(statistics, "best_test")
    for cell in runs.cells:
        done = runs.done(cell)
        noise = epoch_noise(done, statistics)
        if noise is None:
            too_few = "too few epochs" if any(run.curves for run in done) else "no curves"
            why = too_few if done else unfinished(runs, cell)
            rows.append([cell, *[why] * 4, NOT_APPLICABLE, NOT_APPLICABLE])
            continue
        over_seeds = list(runs.percents(cell, best).values())
        spread = stdev(over_seeds) if len(over_seeds) > 1 else None
        gap = _published_gap(runs.of(cell)[0].record)
        numbers = [f"{one:z.2f}" for one in (noise.deviation, noise.swing, noise.gain)]
        spread_and_gap = [or_dash(spread, ".2f"), or_dash(gap, ".1f")]
        rows.append([cell, str(noise.epochs), *numbers, *spread_and_gap])
    caption = (
        f"In points, {STATISTICS_NAMES[statistics]} statistics. late epochs: the last quarter. "
        "deviation: test accuracy's standard deviation over them; swing: highest minus lowest; "
        "gain: the best of all epochs on the test set minus their mean; each is the mean over "
        "runs. The part of a gain that held-out images find, too, is real; the rest is the "
        "optimism of Tables 1 to 4. over seeds: standard deviation of the best epoch's accuracy, "
        "the number that published tables give for one run. gap: the published accuracy of this "
        "loss at T = 15 minus that at this T; at T = 15, minus that of hard. By chance alone such "
        "a gap has a standard deviation of 1.41 times the one over seeds, if both cells vary alike."
    )
    header = ("cell", "late epochs", "deviation", "swing", "gain", "over seeds", "gap")
    title = "Noise over epochs and seeds, beside the published gaps"
    return Table("noise", title, f"{caption} {far_out_text(runs, best)}".rstrip(), header, rows)


def _published_gap(record: RunRecord) -> float | None:
    """Return the published gap between a cell and the one it is compared with; None without one."""
    known = published.ACCURACIES.get(record.loss, {})
    if record.is_teacher or record.loss == "hard" or record.temperature not in known:
        return None
    best = known[published.HARD_TEMPERATURE]
    if record.temperature == published.HARD_TEMPERATURE:
        return best - published.HARD_ACCURACY
    return best - known[record.temperature]
