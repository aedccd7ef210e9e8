import math

import numpy as np
import pytest
from scipy import stats

from bitstill.statistics import (
    Difference,
    equivalence_p,
    holm,
    intersection_union_p,
    paired_difference,
    seeds_needed,
    smallest_detectable,
)

FIRST, SECOND = [90.9, 91.2, 90.7, 91.1], [90.2, 90.9, 90.5, 90.3]


def test_the_paired_difference_is_scipys_paired_t_test() -> None:
    ours, theirs = paired_difference(FIRST, SECOND), stats.ttest_rel(FIRST, SECOND)
    low, high = theirs.confidence_interval()
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.df == theirs.df
    estimate = sum(FIRST) / 4 - sum(SECOND) / 4
    assert list(ours.interval()) == pytest.approx([estimate, low, high])


def test_its_one_sided_p_values_are_scipys() -> None:
    ours = paired_difference(FIRST, SECOND)
    greater = stats.ttest_rel(FIRST, SECOND, alternative="greater").pvalue
    less = stats.ttest_rel(FIRST, SECOND, alternative="less").pvalue
    assert ours.p_above(0) == pytest.approx(greater)
    assert ours.p_below(0) == pytest.approx(less)


def test_one_seed_more_is_where_it_was_predicted() -> None:
    draws = np.random.default_rng(3).normal(0.5, 0.8, (4000, 6))
    inside = 0
    for *seen, new in draws:
        low, high = paired_difference(seen, [0.0] * 5).of_one_seed()[1:]
        inside += low <= new <= high
    assert inside / len(draws) == pytest.approx(0.95, abs=0.011)


def test_one_pair_shows_nothing() -> None:
    one = paired_difference([91.0], [90.0])
    assert (one.estimate, one.df, one.p) == (1.0, 0, 1.0)
    assert one.interval() == (1.0, -math.inf, math.inf)


def test_equal_values_differ_in_nothing() -> None:
    assert paired_difference([90.0, 91.0], [90.0, 91.0]).p == 1.0


def test_noise_that_does_not_show_is_not_taken_for_none() -> None:
    """Three seeds that all gain 0.1 points: multiples of one image, and rounding of 1e-15."""
    found = paired_difference([90.1, 91.3, 89.2], [90.0, 91.2, 89.1])
    assert (found.df, found.n, found.p) == (0, 3, 1.0)
    assert found.estimate == pytest.approx(0.1)
    assert found.interval()[1:] == (-math.inf, math.inf)
    assert paired_difference([90.1, 91.3, 89.2], [90.0, 91.2, 89.0]).df == 2


def test_unequal_lists_make_no_pairs() -> None:
    with pytest.raises(ValueError, match="2 and 1 values make no pairs"):
        paired_difference([1.0, 2.0], [1.0])


def test_holm_by_hand() -> None:
    # Smallest first: 0.01 * 3; then 0.03 * 2 = 0.06; then 0.04 * 1, but no less than 0.06.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


def test_holm_of_many() -> None:
    for p_values in np.random.default_rng(0).random((100, 7)) ** 3:
        order = np.argsort(p_values)
        steps = np.minimum(1, p_values[order] * np.arange(7, 0, -1))
        expected = np.empty(7)
        expected[order] = np.maximum.accumulate(steps)
        assert holm(p_values.tolist()) == pytest.approx(expected)


def test_of_an_intersection_the_largest_p_counts_in_both_directions() -> None:
    differences = [Difference(0.5, 0.1, 4, 5), Difference(0.2, 0.1, 4, 5)]
    assert intersection_union_p(differences) == pytest.approx(2 * stats.t.sf(2, 4))
    against = [Difference(0.5, 0.1, 4, 5), Difference(-0.2, 0.1, 4, 5)]
    assert intersection_union_p(against) == 1.0


def test_equivalence_is_two_one_sided_tests() -> None:
    values = np.array(FIRST) - np.array(SECOND)
    ours = equivalence_p(paired_difference(FIRST, SECOND), 1.5)
    above = stats.ttest_1samp(values, -1.5, alternative="greater").pvalue
    below = stats.ttest_1samp(values, 1.5, alternative="less").pvalue
    assert ours == pytest.approx(max(above, below))


def test_the_smallest_detectable_difference_is_found_as_often_as_said() -> None:
    n, sd = 5, 0.3
    difference = smallest_detectable(sd / math.sqrt(n), n - 1, alpha=0.05, power=0.8)
    values = np.random.default_rng(0).normal(difference, sd, (20_000, n))
    found = np.asarray(stats.ttest_1samp(values, 0, axis=1).pvalue) < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_nothing_is_detectable_without_noise_estimate() -> None:
    assert smallest_detectable(math.nan, 0, alpha=0.05, power=0.8) == math.inf


def test_equivalence_looks_at_the_other_side_too() -> None:
    values = np.array(SECOND) - np.array(FIRST)
    above = stats.ttest_1samp(values, -1.5, alternative="greater").pvalue
    assert equivalence_p(paired_difference(SECOND, FIRST), 1.5) == pytest.approx(above)


def test_rounding_beside_a_zero_is_no_noise() -> None:
    assert paired_difference([0.1 + 0.2, 0.3, 0.3], [0.0] * 3).df == 0


@pytest.mark.parametrize(
    ("deviation", "n"),
    # G*Power's and every textbook's: d_z = 0.5 takes 34 pairs, 1 takes 10, 0.8 takes 15.
    [(1.0, 34), (0.5, 10), (0.625, 15), (0.02, 2)],
)
def test_seeds_needed(deviation: float, n: int) -> None:
    assert seeds_needed(0.5, deviation, alpha=0.05, power=0.8) == n
