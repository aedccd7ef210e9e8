"""Comparisons image by image: which test images two networks get right."""

import math

import numpy as np
from numpy.typing import NDArray

from bitstill.statistics.intervals import Interval, around


def mcnemar_p(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Exact p of "two networks err equally often" on the same images (McNemar 1947).

    Only images that exactly one network gets right count. Without a difference, each is equally
    likely to be either network's, so either count is binomial. The test is about these two trained
    networks, not about the methods that trained them.

    Args:
        first: whether one network gets each image right, (images,).
        second: the same for the other, in the same order.
    """
    from scipy import special

    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    # Both tails of a binomial at 1/2 are equal.
    tail = float(special.bdtr(min(gained, lost), gained + lost, 0.5))
    return min(1.0, 2 * tail)


def two_way_interval(differences: NDArray[np.floating]) -> Interval:
    """Interval of a difference in accuracy over both other seeds and other test images.

    The t interval over seeds holds the test images fixed. This one asks what another test set
    would have shown as well. Model: difference = mean + seed + image + noise, all three random
    (crossed random effects; Searle, Casella and McCulloch 1992, Variance Components). From the
    mean squares of the two-way analysis of variance, the variance of the mean is::

        (MS_seeds + MS_images - MS_noise) / (R C)

    with the degrees of freedom of such a sum (Satterthwaite 1946), but at least those of the seeds,
    since the subtraction may leave less than one. The interval is never narrower than the one over
    seeds alone.

    Args:
        differences: (R seeds, C images): right (1) or wrong (0) in one cell, minus the other.

    Returns:
        The interval, a fraction; its limits are infinite with one seed or one image.
    """
    x = np.asarray(differences, dtype=np.float64)
    rows, columns = x.shape
    mean = float(x.mean())
    if rows < 2 or columns < 2:
        return Interval(mean, -math.inf, math.inf)
    by_seed, by_image = x.mean(axis=1, keepdims=True) - mean, x.mean(axis=0, keepdims=True) - mean
    noise = x - mean - by_seed - by_image
    sums = columns * (by_seed**2).sum(), rows * (by_image**2).sum(), (noise**2).sum()
    free = np.array([rows - 1, columns - 1, (rows - 1) * (columns - 1)])
    squares = np.array(sums) / free
    over_seeds = around(mean, math.sqrt(squares[0] / x.size), rows - 1)
    if squares[1] <= squares[2]:  # no variance between images beyond the noise
        return over_seeds
    total = float(squares @ [1, 1, -1])
    df = max(rows - 1.0, total**2 / float((squares**2 / free).sum()))
    over_both = around(mean, math.sqrt(total / x.size), df)
    return max(over_seeds, over_both, key=lambda one: one.half_width)
