"""Seed noise: how much runs that differ only in seed vary, and how many seeds that takes."""

import itertools
from collections.abc import Mapping, Sequence
from statistics import variance

from bitstill.report.far_out import far_out_text
from bitstill.report.sweeps import STATISTICS_NAMES, RunSet, View
from bitstill.report.table import NOT_APPLICABLE, Table
from bitstill.statistics import ALPHA, POWER, seeds_needed

GAP = 0.5
"""Points: about the published gaps between temperatures."""


def seed_noise_table(runs: RunSet, view: View) -> Table:
    """Return each loss's noise over seeds, and how many seeds find a small difference.

    Args:
        runs: comparable runs.
        view: the choice of an epoch; it is combined with each kind of batch norm statistics.
    """
    rows = [
        [loss, name, *_numbers(_cells(runs, loss, View(kind, view.selection)))]
        for loss in runs.losses
        for kind, name in STATISTICS_NAMES.items()
    ]
    caption = (
        f"In points, {view.label.partition(',')[0]}. deviation: standard deviation over seeds, "
        "pooled over the temperatures of a loss. of a difference: the same for the difference of "
        "two temperatures at one seed, pooled over pairs of temperatures: the noise of a paired "
        "test. If it is 1.41 times the deviation, runs of the same seed are no more alike than "
        f"others. seeds: how many are needed to find a difference of {GAP:g} points with "
        f"{100 * POWER:.0f} % probability in one paired t test at {100 * ALPHA:.0f} %. Estimates "
        "from few runs are themselves uncertain."
    )
    caption = f"{caption} {far_out_text(runs, view)}".rstrip()
    header = ("loss", "batch norm", "runs", "deviation", "of a difference", "seeds")
    title = f"Seed noise, and the seeds needed to find a difference of {GAP:g} points"
    return Table("noise-seeds", title, caption, header, rows, labels=2)


def _cells(runs: RunSet, loss: str, view: View) -> list[dict[int, float]]:
    return [values for cell in runs.cells_of(loss) if (values := runs.percents(cell, view))]


def _numbers(cells: Sequence[Mapping[int, float]]) -> list[str]:
    count = str(sum(map(len, cells)))
    alone = _pooled([list(values.values()) for values in cells])
    difference = _pooled([_differences(*pair) for pair in itertools.combinations(cells, 2)])
    deviation = "too few runs" if alone is None else f"{alone:.2f}"
    if difference is None:
        return [count, deviation, "too few runs", NOT_APPLICABLE]
    if difference < 1e-9:  # only rounding, as all seeds agree: see comparisons.sees_noise
        return [count, deviation, "none seen", NOT_APPLICABLE]
    needed = seeds_needed(GAP, difference, alpha=ALPHA, power=POWER)
    return [count, deviation, f"{difference:.2f}", str(needed)]


def _pooled(samples: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation pooled over samples, weighted by their degrees of freedom."""
    several = [one for one in samples if len(one) > 1]
    free = sum(len(one) - 1 for one in several)
    return (sum((len(one) - 1) * variance(one) for one in several) / free) ** 0.5 if free else None


def _differences(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    return [first[seed] - second[seed] for seed in first.keys() & second.keys()]
