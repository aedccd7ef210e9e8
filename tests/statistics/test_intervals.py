import math

import numpy as np
import pytest

from bitstill.statistics import mean_interval

VALUES = [90.1, 90.4, 89.8, 90.6, 90.3]


def test_the_mean_interval_is_students() -> None:
    mean, low, high = mean_interval(VALUES)
    n = len(VALUES)
    m = sum(VALUES) / n
    s = math.sqrt(sum((v - m) ** 2 for v in VALUES) / (n - 1))
    reach = 2.7764451051977987 * s / math.sqrt(n)  # t(0.975, 4), from a table
    assert mean == pytest.approx(m)
    assert [low, high] == pytest.approx([m - reach, m + reach])


def test_one_value_has_no_limits() -> None:
    assert mean_interval([90.0]) == (90.0, -math.inf, math.inf)


def test_no_values_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_mean_intervals_coverage_is_right(n: int) -> None:
    values = np.random.default_rng(n).normal(90, 0.3, (3000, n))
    covered = [low <= 90 <= high for _, low, high in map(mean_interval, values)]
    assert 0.93 <= np.mean(covered) <= 0.97
