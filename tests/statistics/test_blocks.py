import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from bitstill.statistics import blocked_contrast, paired_difference

CELLS = ("a", "b", "c", "d")
WEIGHTS = {"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5}


def observations(
    rng: np.random.Generator, seeds: int = 5, noise: float = 0.3
) -> list[tuple[str, int, float]]:
    by_seed = rng.normal(0, 1, seeds)
    return [
        (cell, seed, 90 + by_seed[seed] + rng.normal(0, noise))
        for cell, seed in itertools.product(CELLS, range(seeds))
    ]


def test_it_is_the_analysis_of_variance_of_a_block_design() -> None:
    found = observations(np.random.default_rng(1))
    values = np.array([value for *_, value in found]).reshape(len(CELLS), 5)
    ours = blocked_contrast(found, WEIGHTS)
    # Residuals after cell and seed means; their sum of squares over (cells - 1)(seeds - 1).
    left = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    variance = (left**2).sum() / (3 * 4)
    means = values.mean(1)
    assert ours.estimate == pytest.approx((means[0] + means[1] - means[2] - means[3]) / 2)
    assert ours.error == pytest.approx(np.sqrt(variance * 4 * 0.25 / 5))
    assert (ours.df, ours.n) == (12, 5)
    expected = 2 * stats.t.sf(abs(ours.estimate) / ours.error, 12)
    assert ours.p == pytest.approx(expected)


def test_one_seed_more_is_where_it_was_predicted_also_where_runs_are_missing() -> None:
    draw, inside, studies = np.random.default_rng(4), 0, 1500
    for _ in range(studies):
        *found, e, f, g, h = [
            (cell, seed, value + 0.2 * (cell in "ab"))
            for seed in range(6)
            for cell, value in zip(CELLS, draw.normal(0, 1) + draw.normal(0, 0.3, 4), strict=True)
        ]
        new = sum(WEIGHTS[cell] * value for cell, _, value in (e, f, g, h))
        seen = [one for one in found if one[0] != "d" or one[1] == 0]  # d has one run of five
        low, high = blocked_contrast(seen, WEIGHTS).of_one_seed()[1:]
        inside += low <= new <= high
    assert inside / studies == pytest.approx(0.95, abs=0.018)


def test_of_two_cells_it_is_the_paired_t_test() -> None:
    found = [one for one in observations(np.random.default_rng(2)) if one[0] in "ab"]
    a, b = ([value for cell, _, value in found if cell == name] for name in "ab")
    ours, paired = blocked_contrast(found, {"a": 1, "b": -1}), paired_difference(a, b)
    expected = [paired.estimate, paired.error, paired.df, paired.deviation]
    assert [ours.estimate, ours.error, ours.df, ours.deviation] == pytest.approx(expected)


def test_with_runs_missing_it_is_ordinary_least_squares_of_statsmodels() -> None:
    found = observations(np.random.default_rng(3))[1:-2]
    ours = blocked_contrast(found, WEIGHTS)
    cells, seeds, values = zip(*found, strict=True)
    columns = [[cell == name for cell in cells] for name in CELLS]
    columns += [[seed == number for seed in seeds] for number in range(1, 5)]
    fit = OLS(values, np.array(columns, dtype=float).T).fit()
    theirs = fit.t_test([*WEIGHTS.values(), 0, 0, 0, 0])
    assert ours.estimate == pytest.approx(theirs.effect.item())
    assert ours.error == pytest.approx(theirs.sd.item())
    assert ours.df == fit.df_resid == 9
    assert ours.n == 3, "d lacks two of five"
    assert ours.p == pytest.approx(theirs.pvalue.item())


def test_one_seed_gives_a_difference_without_error() -> None:
    one = blocked_contrast(observations(np.random.default_rng(4), seeds=1), WEIGHTS)
    assert (one.df, one.n, one.p) == (0, 1, 1.0)


def test_a_cell_without_runs_gives_nothing() -> None:
    assert blocked_contrast([("a", 0, 1.0)], {"a": 1, "b": -1}).n == 0


@pytest.mark.parametrize("weight", [1, -1])
def test_weights_must_compare(weight: float) -> None:
    with pytest.raises(ValueError, match="do not add up to zero"):
        blocked_contrast([("a", 0, 1.0)], {"a": weight})


def test_its_coverage_is_right_and_its_false_alarms_few() -> None:
    rng = np.random.default_rng(5)
    found = [blocked_contrast(observations(rng), WEIGHTS) for _ in range(1500)]
    covered = [low <= 0 <= high for _, low, high in (one.interval() for one in found)]
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean([one.p < 0.05 for one in found]) <= 0.065


def test_of_several_cells_one_without_runs_gives_nothing() -> None:
    found = [one for one in observations(np.random.default_rng(6)) if one[0] != "d"]
    ours = blocked_contrast(found, WEIGHTS)
    assert (ours.df, ours.n, ours.p) == (0, 0, 1.0)
    assert math.isnan(ours.estimate)
