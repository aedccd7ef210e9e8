"""From runs to a question's tested differences: paired, with seeds as blocks, over images."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bitstill.report.findings import Comparison, Question
from bitstill.report.sweeps import RunSet, View
from bitstill.statistics import (
    Interval,
    blocked_contrast,
    mcnemar_p,
    paired_difference,
    two_way_interval,
)


def missing(runs: RunSet, view: View, cells: Sequence[str]) -> str:
    """Return which cells have no number or no seed in common; an empty text if all is there."""
    empty = [cell for cell in cells if not runs.percents(cell, view)]
    if empty:
        return "no finished run of " + ", ".join(empty)
    common = set.intersection(*(set(runs.percents(cell, view)) for cell in cells))
    return "" if common else "no seed in common: " + ", ".join(cells)


def all_above(
    runs: RunSet, view: View, question: Question, pairs: Sequence[tuple[str, str]]
) -> Question:
    """Complete a question on whether the first cell of every pair is above the second."""
    cells = list(dict.fromkeys(cell for pair in pairs for cell in pair))
    question = dataclasses.replace(question, cells=cells)
    if absent := missing(runs, view, cells):
        return dataclasses.replace(question, missing=absent)
    comparisons = [_paired(runs, view, *pair) for pair in pairs]
    filled = dataclasses.replace(question, comparisons=comparisons)
    if not filled.has_noise:
        return filled
    first, second = pairs[comparisons.index(filled.binding)]
    images = _over_images(runs, view, {first: 1.0, second: -1.0})
    return dataclasses.replace(filled, images=images)


def blocked(runs: RunSet, view: View, question: Question, weights: Mapping[str, float]) -> Question:
    """Complete a question on whether a weighted sum of cells is above zero; seeds are blocks."""
    by_cell = {cell: runs.percents(cell, view) for cell in weights}
    observations = [
        (cell, seed, value) for cell, values in by_cell.items() for seed, value in values.items()
    ]
    difference = blocked_contrast(observations, weights)
    filled = dataclasses.replace(question, comparisons=[Comparison(question.name, difference)])
    if not filled.has_noise:
        return filled
    return dataclasses.replace(
        filled,
        images=_over_images(runs, view, weights),
        check_p=_check_p(by_cell, weights),
    )


def _paired(runs: RunSet, view: View, first: str, second: str) -> Comparison:
    ours, theirs = runs.percents(first, view), runs.percents(second, view)
    seeds = sorted(ours.keys() & theirs.keys())
    difference = paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds])
    one, other = _correctness(runs, view, first), _correctness(runs, view, second)
    mcnemar = {s: mcnemar_p(one[s], other[s]) for s in seeds if s in one and s in other}
    return Comparison(f"{first} minus {second}", difference, mcnemar)


def _correctness(runs: RunSet, view: View, cell: str) -> dict[int, NDArray[np.bool_]]:
    """Return which test images are classified correctly, by seed."""
    found = {run.record.seed: run.correctness.get(str(view)) for run in runs.done(cell)}
    return {seed: right for seed, right in found.items() if right is not None}


def _over_images(runs: RunSet, view: View, weights: Mapping[str, float]) -> Interval | None:
    """Return the two-way interval of a contrast in points, over the seeds that all cells have."""
    right = {cell: _correctness(runs, view, cell) for cell in weights}
    common = sorted(set.intersection(*(set(by_seed) for by_seed in right.values())))
    if len(common) < 2:
        return None
    contrast = sum(
        weight * np.array([right[cell][seed] for seed in common]).astype(np.float64)
        for cell, weight in weights.items()
    )
    return Interval(*(100 * limit for limit in two_way_interval(np.asarray(contrast))))


def _check_p(
    by_cell: Mapping[str, Mapping[int, float]], weights: Mapping[str, float]
) -> float | None:
    """Return the p of a paired t test over the contrasts of seeds that have every cell."""
    seeds = set.intersection(*(set(values) for values in by_cell.values()))
    if not seeds:
        return None
    contrasts = [sum(weights[cell] * by_cell[cell][seed] for cell in weights) for seed in seeds]
    difference = paired_difference(contrasts, [0.0] * len(contrasts))
    return difference.p if difference.df else None
