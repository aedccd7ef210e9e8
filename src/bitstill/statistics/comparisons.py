"""Differences of two cells over seeds: tests, corrections, equivalence, power."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitstill.statistics.intervals import Interval, around


@dataclass(frozen=True)
class Difference:
    """An estimated difference.

    Attributes:
        estimate: the estimated difference.
        error: its standard error; NaN without a degree of freedom.
        df: degrees of freedom of the error; 0 where no noise is seen, see :func:`sees_noise`.
        n: the number of seeds that it rests on.
        deviation: standard deviation of a single seed's difference; NaN where unknown.
    """

    estimate: float
    error: float
    df: float
    n: int
    deviation: float = math.nan

    @property
    def p(self) -> float:
        """Two-sided p of no difference, from Student's t."""
        return min(1.0, 2 * min(self.p_above(0.0), self.p_below(0.0)))

    def p_above(self, bound: float) -> float:
        """One-sided p of "the difference is at most ``bound``"; small if it lies above."""
        from scipy import special

        if self.df < 1:
            return 1.0
        return float(special.stdtr(self.df, (bound - self.estimate) / self.error))

    def p_below(self, bound: float) -> float:
        """One-sided p of "the difference is at least ``bound``"; small if it lies below."""
        return Difference(-self.estimate, self.error, self.df, self.n).p_above(-bound)

    def interval(self) -> Interval:
        """Return the t interval."""
        return around(self.estimate, self.error, self.df)

    def of_one_seed(self) -> Interval:
        """Return the prediction interval of the difference in one new seed.

        Estimate ± t sqrt(deviation^2 + error^2): that seed's own noise, and the estimate's.
        """
        return around(self.estimate, math.hypot(self.deviation, self.error), self.df)


def sees_noise(error: float, values: NDArray[np.float64]) -> bool:
    """Whether a standard error is larger than float64's rounding of the values behind it.

    Accuracies are multiples of one image, so the differences of a few seeds may all be the same.
    Then the noise has not shown itself, which does not mean that there is none: nothing can be
    tested.
    """
    return error > 1e-9 * float(np.abs(values).max())


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Return the mean of first - second, with error s / sqrt(n) and n - 1 df (paired t test).

    Args:
        first: a value for each seed.
        second: the values of the same seeds, in the same order.

    Returns:
        The difference; it has no degree of freedom with a single pair, or if no noise is seen.

    Raises:
        ValueError: there are no values, or not as many in one as in the other.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} values make no pairs")
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    n, mean = len(differences), float(differences.mean())
    deviation = float(differences.std(ddof=1)) if n > 1 else math.nan
    error = deviation / math.sqrt(n)
    if not sees_noise(error, np.asarray([*first, *second])):
        return Difference(mean, math.nan, 0, n)
    return Difference(mean, error, n - 1, n, deviation)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number: Holm 1979, which needs no independence.

    The k-th smallest of m is multiplied by m - k + 1, and raised to the corrected p of the one
    before it if that is larger.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def intersection_union_p(differences: Sequence[Difference]) -> float:
    """Two-sided p of "all of these differences are above zero": the largest counts (Berger 1982).

    A claim that several things all hold needs each of them shown at the full level, without a
    correction. The p is doubled, so that it reads like any other: half the level is for this side.

    Args:
        differences: at least one.
    """
    return min(1.0, 2 * max(difference.p_above(0.0) for difference in differences))


def equivalence_p(difference: Difference, margin: float) -> float:
    """P of "the difference is at least ``margin`` in size": two one-sided tests (Schuirmann 1987).

    Small if the data show that the difference is practically zero.

    Args:
        difference: in the unit of the margin.
        margin: above 0.
    """
    return max(difference.p_above(-margin), difference.p_below(margin))


def smallest_detectable(error: float, df: float, *, alpha: float, power: float) -> float:
    """Return the difference that a two-sided t test finds with a given power.

    Solves P(|t'| > t(1 - alpha/2, df)) = power for the noncentrality d / error of Student's
    noncentral t' (the far tail, below 1e-3 of the power, is left out).

    Args:
        error: standard error of the estimated difference.
        df: its degrees of freedom.
        alpha: level of the test, divided by the number of tests if it is corrected.
        power: the probability.

    Returns:
        The difference, in the unit of ``error``; infinite without a degree of freedom.
    """
    from scipy import special

    if df < 1:
        return math.inf
    critical = special.stdtrit(df, 1 - alpha / 2)
    return error * float(special.nctdtrinc(df, 1 - power, critical))


def seeds_needed(difference: float, deviation: float, *, alpha: float, power: float) -> int:
    """Return how many pairs a paired t test needs to find a difference with a given power.

    The smallest n with :func:`smallest_detectable` (s / sqrt(n), n - 1) at most the difference.

    Args:
        difference: the one to find, above 0.
        deviation: s, the standard deviation of single differences, in the same unit.
        alpha: two-sided level.
        power: the probability.

    Returns:
        The number of pairs, at least 2.
    """

    def enough(n: int) -> bool:
        error = deviation / math.sqrt(n)
        return smallest_detectable(error, n - 1, alpha=alpha, power=power) <= difference

    high = 2
    while not enough(high):
        high *= 2
    low = max(2, high // 2)
    return low + bisect_left(range(low, high), True, key=enough)
