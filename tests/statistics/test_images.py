import math

import numpy as np
import pytest

from bitstill.statistics import mcnemar_p, two_way_bootstrap_interval
from bitstill.statistics.images import two_way_variance


def test_mcnemar_by_hand() -> None:
    # Seven images differ, one of them the other way round: 2 (1 + 7) / 2^7.
    first = np.array([1, 1, 1, 1, 1, 1, 0, 1, 0], dtype=bool)
    second = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0], dtype=bool)
    assert mcnemar_p(first, second) == pytest.approx(2 * 8 / 128)


def test_mcnemar_of_the_same_answers() -> None:
    same = np.array([True, False])
    assert mcnemar_p(same, same) == 1.0


def test_the_two_way_variance_is_that_of_many_draws() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.choice([-1.0, 0.0, 1.0], (4, 60), p=[0.1, 0.7, 0.2]) + rng.normal(0, 0.2, (4, 1))
    rows = rng.multinomial(4, [0.25] * 4, 40_000)
    columns = rng.multinomial(60, [1 / 60] * 60, 40_000)
    drawn = np.einsum("ni,ij,nj->n", rows, matrix, columns, optimize=True) / matrix.size
    assert two_way_variance(matrix) == pytest.approx(drawn.var(), rel=0.03)


def test_one_seed_has_no_interval() -> None:
    assert two_way_bootstrap_interval(np.zeros((1, 9))) == (0.0, -math.inf, math.inf)


def test_the_two_way_intervals_coverage_is_at_least_what_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(1000):
        seeds, images = rng.normal(0, 0.01, (5, 1)), rng.normal(0, 0.1, (1, 400))
        right = rng.random((2, 5, 400)) < 0.8 + np.stack([seeds + images, images - seeds])
        _, low, high = two_way_bootstrap_interval(right[0] * 1.0 - right[1])
        covered.append(low <= 0 <= high)
    assert np.mean(covered) >= 0.94
