"""A contrast of several cells, with the seed as a block."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bitstill.statistics.comparisons import Difference, sees_noise


def blocked_contrast(
    observations: Sequence[tuple[str, int, float]], weights: Mapping[str, float]
) -> Difference:
    """Estimate a weighted sum of cell means by ordinary least squares, with seed as a block.

    Model: value = cell + seed + noise, both as fixed effects (Montgomery, Design and Analysis of
    Experiments, randomized complete block design). What a seed does to all cells alike drops out.
    The noise is estimated from all cells together, so it has more degrees of freedom than in a
    paired test of two cells. Cells may lack seeds. A mixed model, which treats seeds as random,
    gave p-values far too small at five seeds.

    Args:
        observations: (cell, seed, value) of each run.
        weights: one for each compared cell; they add up to zero.

    Returns:
        The estimate; its ``n`` is that of the compared cell with the fewest seeds. It has no degree
        of freedom if there is only one seed, a compared cell has no run, or no noise is seen.

    Raises:
        ValueError: the weights do not add up to zero.
    """
    if abs(sum(weights.values())) > 1e-9:
        raise ValueError(f"weights {dict(weights)} do not add up to zero")
    cells = sorted({cell for cell, _, _ in observations})
    seeds = sorted({seed for _, seed, _ in observations})
    if not set(weights) <= set(cells):
        return Difference(math.nan, math.nan, 0, 0)
    of_cell, of_seed, values = (np.array(column) for column in zip(*observations, strict=True))
    indicators = of_cell[:, None] == cells, of_seed[:, None] == seeds[1:]
    design = np.column_stack(indicators).astype(np.float64)
    contrast = np.array([weights.get(cell, 0.0) for cell in cells] + [0.0] * len(seeds[1:]))
    n = min(int((of_cell == cell).sum()) for cell in weights)
    coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
    estimate = float(contrast @ coefficients)
    df = len(values) - int(np.linalg.matrix_rank(design))
    if df < 1 or len(seeds) < 2:
        return Difference(estimate, math.nan, 0, n)
    residuals = values - design @ coefficients
    variance = float(residuals @ residuals) / df
    spread = float(contrast @ np.linalg.pinv(design.T @ design) @ contrast)
    error = math.sqrt(max(0.0, variance * spread))
    if not sees_noise(error, values):
        return Difference(estimate, math.nan, 0, n)
    # The seed effect drops out of one seed's contrast, as the weights add up to zero.
    deviation = math.sqrt(variance * sum(weight**2 for weight in weights.values()))
    return Difference(estimate, error, df, n, deviation)
