"""Thresholds against sixty-digit decimals, ties included."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstill.folding import Channels, fold


def channels(**changes: float) -> Channels:
    """One channel; the quarter as variance makes the square root exact."""
    one = {"bias": 0.0, "mean": 0.0, "variance": 0.25, "gain": 0.0, "offset": 0.0} | changes
    return Channels(
        step=Fraction(changes.get("step", 1.0)),
        epsilon=changes.get("epsilon", 0.0),
        scale=changes.get("scale", 1.0),
        **{key: np.array([one[key]]) for key in ("bias", "mean", "variance", "gain", "offset")},
    )


def reached(one: Channels, total: int, half: Fraction) -> bool:
    """The formula read from left to right, with decimals of sixty digits."""
    with localcontext() as context:
        context.prec = 60

        def exact(value: float | Fraction) -> Decimal:
            fraction = Fraction(value)
            return Decimal(fraction.numerator) / Decimal(fraction.denominator)

        root = (exact(one.variance[0]) + exact(one.epsilon)).sqrt()
        value = exact(one.step) * total + exact(one.bias[0]) - exact(one.mean[0])
        gain = abs(exact(one.gain[0])) + 1
        left = exact(one.scale) * (gain * value + exact(one.offset[0]) * root)
        return left >= exact(half) * root


def test_a_tie_rounds_up() -> None:
    # n = S / 0.5, so the half is reached at S = 1/4; with steps of 1/8 exactly at the second.
    assert fold(channels(step=0.125), np.array([100]), bits=1).tolist() == [[2]]
    just_above = channels(step=0.125, mean=2.0**-60)
    assert fold(just_above, np.array([100]), bits=1).tolist() == [[3]]
    just_below = channels(step=0.125, mean=-(2.0**-60))
    assert fold(just_below, np.array([100]), bits=1).tolist() == [[2]]


def test_a_third_is_a_third() -> None:
    # One third as a float is a little less: three of them would miss a threshold of one.
    one = Channels(
        **{
            **{key: np.zeros(1) for key in ("bias", "gain", "offset")},
            "mean": np.array([0.75]),
            "variance": np.array([0.25]),
            "step": Fraction(1, 3),
            "epsilon": 0.0,
            "scale": 1.0,
        }  # type: ignore[arg-type]
    )
    assert fold(one, np.array([100]), bits=1).tolist() == [[3]]


def test_next_to_an_integer_fractions_decide() -> None:
    # 0.025 / 0.001, for which float64 has a little more than 25.
    one = channels(step=0.001, mean=-0.375, offset=0.1, variance=1.0)
    assert reached(one, 25, Fraction(1, 2))
    assert fold(one, np.array([5000]), bits=1).tolist() == [[25]]


def test_what_is_never_or_always_reached() -> None:
    assert fold(channels(offset=1e9), np.array([7]), bits=1).tolist() == [[-7]]
    assert fold(channels(offset=-1e9), np.array([7]), bits=1).tolist() == [[8]]
    # A layer of zeros: its sums are worth nothing, and the offset alone decides.
    assert fold(channels(step=0.0, offset=0.5), np.array([7]), bits=1).tolist() == [[-7]]
    assert fold(channels(step=0.0, offset=0.49), np.array([7]), bits=1).tolist() == [[8]]
    tiny = channels(scale=5e-324, variance=3e38, offset=3e38, mean=-3e38)
    assert fold(tiny, np.array([7]), bits=1).tolist() == [[8]]


def test_levels_rise() -> None:
    assert fold(channels(), np.array([9]), bits=2).tolist() == [[1, 1, 1]]
    [row] = fold(channels(step=0.01), np.array([90]), bits=2).tolist()
    assert row == [9, 25, 42]  # 50 * (1/6, 3/6, 5/6), rounded up


@given(
    step=st.sampled_from([1.0, 0.5, 0.125, 0.1, 1e-3]),
    bias=st.floats(-4, 4, width=32),
    mean=st.one_of(st.floats(-4, 4, width=32), st.integers(-9, 9).map(lambda n: n / 8)),
    variance=st.one_of(st.floats(0, 16, width=32), st.sampled_from([0.0, 0.25, 1.0])),
    epsilon=st.sampled_from([0.0, 1e-3]),
    gain=st.floats(-3, 3, width=32),
    offset=st.floats(-2, 2, width=32),
    scale=st.sampled_from([0.1, 0.5, 1.0]),
    bits=st.integers(1, 3),
)
@settings(max_examples=60)
def test_thresholds_are_exact(bits: int, **numbers: float) -> None:
    one, bound = channels(**numbers), 300
    levels = 2**bits - 1
    for level, threshold in enumerate(fold(one, np.array([bound]), bits=bits)[0].tolist(), start=1):
        half = Fraction(2 * level - 1, 2 * levels)
        assert -bound <= threshold <= bound + 1
        if threshold <= bound:
            assert reached(one, threshold, half)
        if threshold > -bound:
            assert not reached(one, threshold - 1, half)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": np.nan},
        {"variance": -1.0},
        {"gain": np.inf},
        {"bias": np.inf},
        {"offset": -np.inf},
        {"epsilon": -1.0},
        {"epsilon": np.inf},
    ],
)
def test_a_diverged_run_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="the run diverged; choose another run"):
        channels(**wrong)
