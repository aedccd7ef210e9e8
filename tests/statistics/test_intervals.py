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


def test_what_one_run_in_ten_that_does_not_learn_makes_of_the_coverage() -> None:
    """As docs/report.md has it: most studies of five seeds see none, and miss the mean."""
    draw = np.random.default_rng(0)
    values = np.where(draw.random((3000, 5)) < 0.1, 24, draw.normal(88, 0.4, (3000, 5)))
    mean = 0.1 * 24 + 0.9 * 88
    covered = [low <= mean <= high for _, low, high in map(mean_interval, values)]
    assert np.mean(covered) == pytest.approx(0.41, abs=0.03)
