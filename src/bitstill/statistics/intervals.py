"""Intervals of one mean and of one proportion."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """An estimate between two limits; the limits are infinite where nothing bounds them."""

    estimate: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the distance of the limits: what stands behind the plus-minus sign."""
        return (self.high - self.low) / 2


def around(estimate: float, error: float, df: float, confidence: float = CONFIDENCE) -> Interval:
    """Return ``estimate`` +- t(df) ``error``, or infinite limits without a degree of freedom.

    Args:
        estimate: the middle.
        error: its standard error.
        df: degrees of freedom of that error.
        confidence: in (0, 1).
    """
    from scipy import stats

    if df < 1:
        return Interval(estimate, -math.inf, math.inf)
    reach = float(stats.t.ppf((1 + confidence) / 2, df)) * error
    return Interval(estimate, estimate - reach, estimate + reach)


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return mean +- t(n-1) s / sqrt(n), Student's interval.

    At five runs its coverage is right for nearly normal values; bootstrap intervals over five
    values are too short.

    Args:
        values: n of them; one alone has no limits.
        confidence: in (0, 1).

    Raises:
        ValueError: no values.
    """
    if not len(values):
        raise ValueError("the mean of no values is not defined")
    array = np.asarray(values, dtype=np.float64)
    n = len(array)
    error = float(array.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return around(float(array.mean()), error, n - 1, confidence)


def proportion_interval(successes: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the score interval of a proportion (Wilson 1927): one run on finitely many images.

    Args:
        successes: images that are right.
        total: images; above 0.
        confidence: in (0, 1).
    """
    from scipy import stats

    z2 = float(stats.norm.ppf((1 + confidence) / 2)) ** 2
    share = successes / total
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    reach = math.sqrt(z2 * (share * (1 - share) + z2 / (4 * total)) / total) / (1 + z2 / total)
    return Interval(share, middle - reach, middle + reach)
