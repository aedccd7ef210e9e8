"""Comparisons image by image: which test images two networks get right."""

import math

import numpy as np
from numpy.typing import NDArray

from bitstill.statistics.intervals import CONFIDENCE, Interval, around


def mcnemar_p(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Exact p of "two networks err equally often" on the same images (McNemar 1947).

    Only the images count that one gets right and the other wrong; under no difference each is as
    likely either way, so their number is binomial. It speaks of these two trained networks, not of
    the methods that trained them.
    """
    from scipy import special

    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    # Both tails of a binomial at 1/2 are alike.
    tail = float(special.bdtr(min(gained, lost), gained + lost, 0.5))
    return min(1.0, 2 * tail)


def two_way_variance(differences: NDArray[np.floating]) -> float:
    """Variance of a matrix's mean under the bootstrap that resamples rows and columns.

    The pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1(2)) draws R seeds and,
    independently, C images with replacement, and takes the mean over their crossing. With
    multinomial counts a, b of rows and columns, E[a_i a_j] = 1 - 1/R + [i = j], and likewise for b;
    so the variance over infinitely many such draws follows without drawing::

        E[S^2] = (r c T^2 + c sum_i row_i^2 + r sum_j column_j^2 + sum_ij x_ij^2) / (R C)^2

    with r = 1 - 1/R, c = 1 - 1/C, the total T and sums over rows and columns; minus the
    squared mean.

    Args:
        differences: (seeds, images).
    """
    x = np.asarray(differences, dtype=np.float64)
    rows, columns = x.shape
    r, c = 1 - 1 / rows, 1 - 1 / columns
    total, count = float(x.sum()), x.size
    second = (
        r * c * total**2
        + c * float((x.sum(axis=1) ** 2).sum())
        + r * float((x.sum(axis=0) ** 2).sum())
        + float((x**2).sum())
    )
    return max(0.0, float(second / count**2 - (total / count) ** 2))


def two_way_bootstrap_interval(
    differences: NDArray[np.floating], confidence: float = CONFIDENCE
) -> Interval:
    """Interval of a difference in accuracy over other seeds *and* other test images.

    The t interval over seeds holds the test images fixed. This one asks what another test set
    would have shown as well. The bootstrap's variance (:func:`two_way_variance`) is taken with
    Student's t of R - 1 degrees of freedom and multiplied by R / (R - 1), for the bootstrap of R
    values sees only that part of their variance.

    Args:
        differences: (seeds, images): right (1) or wrong (0) in one cell, minus the other.
        confidence: in (0, 1).
    """
    seeds = len(differences)
    mean = float(differences.mean())
    if seeds < 2:
        return Interval(mean, -math.inf, math.inf)
    error = math.sqrt(two_way_variance(differences) * seeds / (seeds - 1))
    return around(mean, error, seeds - 1, confidence)
