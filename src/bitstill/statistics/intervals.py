"""Confidence intervals (95 %) of a mean."""

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
        """Half the width of the interval, as shown after the plus-minus sign."""
        return (self.high - self.low) / 2


def around(estimate: float, error: float, df: float) -> Interval:
    """Return ``estimate`` +- t(df) ``error``, or infinite limits without a degree of freedom.

    Args:
        estimate: the middle.
        error: its standard error.
        df: degrees of freedom of that error.
    """
    from scipy import special

    if df < 1:
        return Interval(estimate, -math.inf, math.inf)
    reach = float(special.stdtrit(df, (1 + CONFIDENCE) / 2)) * error
    return Interval(estimate, estimate - reach, estimate + reach)


def mean_interval(values: Sequence[float]) -> Interval:
    """Return mean +- t(n-1) s / sqrt(n), Student's interval.

    At five runs its coverage is right for nearly normal values; bootstrap intervals over five
    values are too short.

    Args:
        values: n of them; with a single one the limits are infinite.

    Raises:
        ValueError: no values.
    """
    if not len(values):
        raise ValueError("the mean of no values is not defined")
    array = np.asarray(values, dtype=np.float64)
    n = len(array)
    error = float(array.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return around(float(array.mean()), error, n - 1)
