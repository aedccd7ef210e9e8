import math

import numpy as np
import pytest
from scipy import stats

from bitstill.statistics import mcnemar_p, mean_interval, two_way_interval


def test_mcnemar_by_hand() -> None:
    # Seven images differ, one of them the other way round: 2 (1 + 7) / 2^7.
    first = np.array([1, 1, 1, 1, 1, 1, 0, 1, 0], dtype=bool)
    second = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0], dtype=bool)
    assert mcnemar_p(first, second) == pytest.approx(2 * 8 / 128)


def test_mcnemar_is_the_same_either_way_round() -> None:
    better = np.array([1, 1, 1, 1, 0, 0], dtype=bool)
    worse = np.array([0, 0, 0, 0, 1, 0], dtype=bool)
    assert mcnemar_p(worse, better) == mcnemar_p(better, worse) < 1


def test_mcnemar_of_the_same_answers() -> None:
    same = np.array([True, False])
    assert mcnemar_p(same, same) == 1.0


def test_the_two_way_interval_by_hand() -> None:
    # Mean 7/12; sums of squares 1/6, 9/4 and 1/2 over 2, 3 and 6 degrees of freedom: mean squares
    # 1/12, 3/4 and 1/12, so (3/4) / 12 with (3/4)^2 / (1/288 + 3/16 + 1/864) = 243/83.
    differences = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0]])
    reach = stats.t.ppf(0.975, 243 / 83) / 4
    expected = [7 / 12, 7 / 12 - reach, 7 / 12 + reach]
    assert two_way_interval(differences) == pytest.approx(expected)


def test_images_without_a_variance_of_their_own_leave_the_interval_over_seeds() -> None:
    differences = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    assert two_way_interval(differences) == pytest.approx(mean_interval(differences.mean(axis=1)))


def test_two_seeds_have_an_interval() -> None:
    """Mean squares 1/2, 2/3 and 1/2, and (2/3)^2 / (1/4 + 4/27 + 1/12) = 12/13 < 1."""
    differences = np.array([[-1.0, -1.0, -1.0, 0.0], [-1.0, -1.0, 1.0, 0.0]])
    reach = stats.t.ppf(0.975, 1) * math.sqrt(2 / 3 / 8)
    assert two_way_interval(differences) == pytest.approx([-0.5, -0.5 - reach, -0.5 + reach])


def test_one_seed_has_no_interval() -> None:
    assert two_way_interval(np.zeros((1, 9))) == (0.0, -math.inf, math.inf)


# Deviations over seeds and over images: of 2 points and 30, of half a point and 23, and of neither.
@pytest.mark.parametrize(("seed", "image"), [(0.02, 0.3), (0.005, 0.23), (0.0, 0.0)])
def test_the_two_way_intervals_coverage_is_what_it_says(seed: float, image: float) -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(1000):
        seeds, images = rng.normal(0, seed, (5, 1)), rng.normal(0, image, (1, 400))
        right = rng.random((2, 5, 400)) < 0.8 + np.stack([seeds + images, images - seeds])
        _, low, high = two_way_interval(right[0] * 1.0 - right[1])
        covered.append(low <= 0 <= high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_no_fewer_degrees_of_freedom_than_the_seeds_own() -> None:
    """Mean squares 7/12, 2/3 and 7/12: Satterthwaite's would be 1.2, the seeds' are 2."""
    differences = np.array([[1.0, 1.0, 1.0, 0.0], [1.0, -1.0, 0.0, 1.0], [1.0, 0.0, 0.0, -1.0]])
    reach = stats.t.ppf(0.975, 2) * math.sqrt(2 / 3 / 12)
    assert two_way_interval(differences).half_width == pytest.approx(reach)


def test_it_is_never_narrower_than_over_seeds_alone() -> None:
    differences = np.array([[0.0, 0.0, 0.0, 1.0], [-1.0, 0.0, -1.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    assert two_way_interval(differences) == pytest.approx(mean_interval(differences.mean(axis=1)))


def test_one_image_has_no_interval() -> None:
    assert two_way_interval(np.zeros((3, 1))) == (0.0, -math.inf, math.inf)
