"""Quantizers against NumPy in float64 and exact fractions, written from the formulas anew."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from bitstill.quantizers import (
    Quantizer,
    WeightSteps,
    quantize_activation,
    quantize_unit,
    quantize_weight_dorefa,
    quantize_weight_mean_scaled,
    round_half_up,
    scale_by_max,
    scale_by_mean,
    stretch_by_max,
    stretch_by_mean,
    weight_steps_dorefa,
    weight_steps_mean_scaled,
)

Array = NDArray[np.float64]
BITS = range(1, 9)
WEIGHT_QUANTIZERS = [quantize_weight_mean_scaled, quantize_weight_dorefa]
DTYPES = [torch.float32, torch.float64]

UNIT = st.floats(0, 1, width=32)
WEIGHTS = st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=40)


def np_round(x: Array) -> Array:
    """Halves up, in float64; fit for arguments that are not within 1e-9 of a half."""
    return np.asarray(np.floor(x + 0.5))


def np_unit(r: Array, bits: int) -> Array:
    return np.asarray(np_round((2**bits - 1) * r) / (2**bits - 1))


def np_mean_scaled(raw: Array, bits: int) -> Array:
    w = np.tanh(raw)
    m = 2 * np.abs(w).mean()
    return np.asarray(m * (np_unit(np.clip(w / m, -0.5, 0.5) + 0.5, bits) - 0.5))


def np_dorefa(raw: Array, bits: int) -> Array:
    if bits == 1:
        return np.asarray(np.where(raw >= 0, 1.0, -1.0) * np.abs(raw).mean())
    w = np.tanh(raw)
    return np.asarray(2 * np_unit(w / (2 * np.abs(w).max()) + 0.5, bits) - 1)


def np_dorefa_gradient(raw: Array, upstream: Array) -> Array:
    """Of sum(upstream * w / M), with w = tanh(raw), M = |w_j| the maximum: straight through."""
    w = np.tanh(raw)
    flat = np.abs(w).argmax()
    largest = np.abs(w).flat[flat]
    by_w = upstream / largest
    by_w.flat[flat] -= np.sign(w.flat[flat]) * (upstream * w).sum() / largest**2
    return np.asarray(by_w * (1 - w**2))


def layer(seed: int = 0, size: tuple[int, ...] = (8, 4, 3, 3), std: float = 0.7) -> Array:
    return np.random.default_rng(seed).normal(0, std, size)


def with_gradient(
    function: Callable[..., Tensor], x: Array | Tensor, upstream: Array | Tensor, **settings: Any
) -> tuple[Tensor, Tensor]:
    leaf = torch.as_tensor(x).clone().requires_grad_()
    result = function(leaf, **settings)
    result.backward(torch.as_tensor(upstream))
    assert leaf.grad is not None
    return result.detach(), leaf.grad


def neighbours(value: float, dtype: torch.dtype) -> list[float]:
    """The float below, the value, and the float above."""
    there = torch.tensor(value, dtype=dtype)
    up, down = torch.tensor(math.inf, dtype=dtype), torch.tensor(-math.inf, dtype=dtype)
    return [there.nextafter(down).item(), there.item(), there.nextafter(up).item()]


# Rounding


def test_rounding_is_half_up() -> None:
    x = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 3.5, 254.5, -0.5, -0.75, -1.5])
    expected = [0.0, 0, 1, 1, 1, 2, 3, 4, 255, 0, -1, -1]
    assert round_half_up(x).tolist() == expected


def test_float_below_one_half_rounds_down() -> None:
    below = torch.tensor(0.49999997)
    assert 0 < 0.5 - below.item() < 1e-7
    assert (below + 0.5).floor() == 1  # the trap
    assert round_half_up(below) == 0
    assert round_half_up(torch.tensor(np.nextafter(0.5, 0.0))) == 0


@given(st.floats(0, 300, width=32))
def test_rounding_equals_exact_arithmetic(x: float) -> None:
    assert round_half_up(torch.tensor(x)).item() == math.floor(Fraction(x) + Fraction(1, 2))


def test_nan_rounds_to_nan() -> None:
    assert round_half_up(torch.tensor([math.nan, 0.5])).isnan().tolist() == [True, False]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_unit_at_every_level_and_around_every_border(bits: int, dtype: torch.dtype) -> None:
    steps = 2**bits - 1
    levels = torch.tensor([i / steps for i in range(steps + 1)], dtype=dtype)
    assert torch.equal(quantize_unit(levels, bits=bits), levels)
    for i in range(steps):
        border = (i + 0.5) / steps
        near = torch.tensor(neighbours(border, dtype), dtype=dtype)
        # What the float multiplication says, taken from there exactly, halves up.
        products = [Fraction(p.item()) for p in near * steps]
        codes = [math.floor(p + Fraction(1, 2)) for p in products]
        assert quantize_unit(near, bits=bits).tolist() == levels[codes].tolist()
        # Four times the resolution of a float beside it there is no doubt left.
        apart = 4 * torch.finfo(dtype).eps
        beside = torch.tensor([border - apart, border + apart], dtype=dtype)
        assert quantize_unit(beside, bits=bits).tolist() == levels[i : i + 2].tolist()


@pytest.mark.parametrize("bits", BITS)
def test_the_one_border_that_a_float_can_hold_goes_up(bits: int) -> None:
    """(i + 1/2) / (2^k - 1) is a binary fraction for 1/2 alone."""
    steps = 2**bits - 1
    for dtype in DTYPES:
        found = quantize_unit(torch.tensor([0.5], dtype=dtype), bits=bits)
        assert torch.equal(found, torch.tensor([(steps + 1) // 2 / steps], dtype=dtype))


@given(st.lists(UNIT, min_size=1, max_size=30), st.sampled_from(BITS))
def test_unit_is_idempotent_monotone_in_range_and_on_its_levels(r: list[float], bits: int) -> None:
    values = torch.tensor(sorted(r), dtype=torch.float32)
    rounded = quantize_unit(values, bits=bits)
    steps = 2**bits - 1
    levels = np.arange(steps + 1, dtype=np.float32) / np.float32(steps)
    assert torch.equal(quantize_unit(rounded, bits=bits), rounded)
    assert (rounded.diff() >= 0).all()
    assert set(rounded.numpy().tolist()) <= set(levels.tolist())
    assert ((rounded - values).abs() <= 0.5 / steps + 1e-6).all()


# Weights


@pytest.mark.parametrize("bits", BITS)
def test_mean_scaled_forward_and_gradient(bits: int) -> None:
    raw, upstream = layer(), layer(100)
    found, gradient = with_gradient(quantize_weight_mean_scaled, raw, upstream, bits=bits)
    np.testing.assert_allclose(found.numpy(), np_mean_scaled(raw, bits), rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        gradient.numpy(), upstream * (1 - np.tanh(raw) ** 2), rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("bits", BITS)
def test_dorefa_forward_and_gradient(bits: int) -> None:
    raw, upstream = layer(), layer(100)
    found, gradient = with_gradient(quantize_weight_dorefa, raw, upstream, bits=bits)
    np.testing.assert_allclose(found.numpy(), np_dorefa(raw, bits), rtol=0, atol=1e-14)
    expected = upstream if bits == 1 else np_dorefa_gradient(raw, upstream)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("bits", range(2, 9))
def test_dorefa_gradient_is_that_of_the_map_without_rounding(bits: int) -> None:
    raw, upstream = layer(5, (3, 4)), layer(6, (3, 4))

    def unrounded(r: Array) -> float:
        w = np.tanh(r)
        return float((upstream * (2 * (w / (2 * np.abs(w).max()) + 0.5) - 1)).sum())

    h = 1e-6
    differences = np.zeros_like(raw)
    for index in np.ndindex(raw.shape):
        step = np.zeros_like(raw)
        step[index] = h
        differences[index] = (unrounded(raw + step) - unrounded(raw - step)) / (2 * h)
    _, gradient = with_gradient(quantize_weight_dorefa, raw, upstream, bits=bits)
    np.testing.assert_allclose(gradient.numpy(), differences, rtol=1e-6, atol=1e-8)
    # The maximum's own part is what a gradient without it would lack.
    largest = np.unravel_index(np.abs(raw).argmax(), raw.shape)
    without = upstream[largest] / np.abs(np.tanh(raw)).max() * (1 - np.tanh(raw[largest]) ** 2)
    assert abs(gradient.numpy()[largest] - without) > 1e-3


def test_golden_numbers_at_two_bits() -> None:
    """tanh(artanh(x)) = x; mean|w| = 0.5; the borders of mean_scaled lie at -1/3, 0, 1/3."""
    w = torch.tensor([0.9, -0.9, 0.3, -0.3, 0.4, -0.4, 0.0, 0.8], dtype=torch.float64)
    assert w.abs().mean() == pytest.approx(0.5)
    mean_scaled = quantize_weight_mean_scaled(w.atanh(), bits=2)
    expected = [0.5, -0.5, 1 / 6, -1 / 6, 0.5, -0.5, 1 / 6, 0.5]
    assert mean_scaled.tolist() == pytest.approx(expected, abs=1e-15)
    # dorefa: w / 0.9, borders at -2/3, 0, 2/3 of the maximum.
    dorefa = quantize_weight_dorefa(w.atanh(), bits=2)
    assert dorefa.tolist() == pytest.approx([1, -1, 1 / 3, -1 / 3, 1 / 3, -1 / 3, 1 / 3, 1])


def test_two_bit_levels_of_mean_scaled() -> None:
    raw = layer(3)
    size = np.abs(np.tanh(raw)).mean()
    found = np.unique(quantize_weight_mean_scaled(torch.from_numpy(raw), bits=2).numpy())
    np.testing.assert_allclose(found, size * np.array([-1, -1 / 3, 1 / 3, 1]), rtol=1e-14)


@given(WEIGHTS, st.sampled_from(BITS))
def test_mean_scaled_is_bit_exactly_on_its_levels(weights: list[float], bits: int) -> None:
    found = quantize_weight_mean_scaled(torch.tensor(weights), bits=bits).numpy()
    steps = np.float32(2**bits - 1)
    # |w| >= mean|w| somewhere, so an outer level, m / 2, is always there.
    span = np.float32(2) * np.abs(found).max()
    levels = span * (np.arange(steps + 1, dtype=np.float32) / steps - np.float32(0.5))
    assert set(found.tolist()) <= set(levels.tolist())
    assert len(np.unique(found)) <= 2**bits
    assert np.abs(found).max() == pytest.approx(np.abs(np.tanh(weights)).mean(), rel=1e-5)


def assert_one_pass_equals_the_steps(weight: Tensor, bits: int) -> None:
    """All bits the same; NaN too."""
    found = quantize_weight_mean_scaled(weight, bits=bits)
    steps = weight_steps_mean_scaled(weight, bits=bits)
    assert found.stride() == weight.stride()
    torch.testing.assert_close(found, steps.stretched, rtol=0, atol=0, equal_nan=True)


@given(st.lists(st.floats(width=32), min_size=1, max_size=40), st.sampled_from(BITS))
def test_one_pass_equals_the_steps(weights: list[float], bits: int) -> None:
    assert_one_pass_equals_the_steps(torch.tensor(weights), bits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", BITS)
def test_one_pass_equals_the_steps_in_any_memory(bits: int, dtype: torch.dtype) -> None:
    weight = torch.from_numpy(layer(5)).to(dtype).reshape(-1, 1, 1, 1).expand(-1, 3, 3, 3)
    for layout in (torch.contiguous_format, torch.channels_last):
        assert_one_pass_equals_the_steps(weight.contiguous(memory_format=layout), bits)
    turned = weight.contiguous().transpose(0, 1)  # neither
    assert torch.equal(
        quantize_weight_mean_scaled(turned, bits=bits),
        weight_steps_mean_scaled(turned, bits=bits).stretched,
    )


@given(WEIGHTS, st.sampled_from(BITS))
def test_dorefa_is_bit_exactly_on_its_levels(weights: list[float], bits: int) -> None:
    found = quantize_weight_dorefa(torch.tensor(weights), bits=bits).numpy()
    assert len(np.unique(found)) <= 2**bits
    if bits == 1:
        assert np.unique(np.abs(found)).tolist() == [
            pytest.approx(np.abs(weights).mean(), rel=1e-5, abs=1e-44)
        ]
        return
    steps = np.float32(2**bits - 1)
    levels = np.float32(2) * (np.arange(steps + 1, dtype=np.float32) / steps) - np.float32(1)
    assert set(found.tolist()) <= set(levels.tolist())
    # The largest weight maps to 1 or -1 itself.
    if any(weights):
        assert np.abs(found).max() == 1


@pytest.mark.parametrize("quantize", WEIGHT_QUANTIZERS)
@given(weights=WEIGHTS, bits=st.sampled_from(BITS))
def test_larger_weights_never_become_smaller(
    quantize: Callable[..., Tensor], weights: list[float], bits: int
) -> None:
    assert (quantize(torch.tensor(sorted(weights)), bits=bits).diff() >= 0).all()


@pytest.mark.parametrize("quantize", WEIGHT_QUANTIZERS)
@given(data=st.data(), bits=st.sampled_from(BITS))
def test_permuted_weights_give_permuted_results(
    quantize: Callable[..., Tensor], data: st.DataObject, bits: int
) -> None:
    weights = torch.tensor(
        data.draw(st.lists(st.integers(-32, 32), min_size=1, max_size=40)), dtype=torch.float64
    )
    weights = weights / 8
    order = torch.tensor(data.draw(st.permutations(range(len(weights)))))
    one, other = quantize(weights, bits=bits)[order], quantize(weights[order], bits=bits)
    w = weights.tanh()
    span = w.abs().mean() if quantize is quantize_weight_mean_scaled else w.abs().max()
    scaled = (w / (2 * span)).clamp(-0.5, 0.5) * (2**bits - 1) + 2 ** (bits - 1)
    # The mean depends on the order in its last bits: what lies on a border may fall either way.
    undecided = (scaled - scaled.round()).abs()[order] < 1e-9
    undecided &= weights[order] != 0
    torch.testing.assert_close(one[~undecided], other[~undecided], rtol=1e-13, atol=0)


@pytest.mark.parametrize("quantize", WEIGHT_QUANTIZERS)
def test_none_is_full_precision_and_returns_the_same_object(
    quantize: Callable[..., Tensor],
) -> None:
    weight = torch.randn(4, requires_grad=True)
    assert quantize(weight, bits=None) is weight


@pytest.mark.parametrize("bits", BITS)
def test_layer_of_zeros(bits: int) -> None:
    zeros, ones = torch.zeros(2, 3), torch.ones(2, 3)
    found, gradient = with_gradient(quantize_weight_mean_scaled, zeros, ones, bits=bits)
    assert torch.equal(found, zeros)
    assert torch.equal(gradient, ones)
    found, gradient = with_gradient(quantize_weight_dorefa, zeros, ones, bits=bits)
    assert gradient.isfinite().all()
    steps = 2**bits - 1
    rounded_up = 0.0 if bits == 1 else 2 * ((steps + 1) // 2) / steps - 1  # one bit: sign * 0
    torch.testing.assert_close(found, torch.full((2, 3), rounded_up), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("quantize", WEIGHT_QUANTIZERS)
@pytest.mark.parametrize("bits", BITS)
def test_one_nan_makes_the_layer_nan(quantize: Callable[..., Tensor], bits: int) -> None:
    assert quantize(torch.tensor([1.0, math.nan, -2.0, 0.0]), bits=bits).isnan().all()


@pytest.mark.parametrize("bits", BITS)
def test_infinite_weights_go_to_the_outer_levels(bits: int) -> None:
    raw = torch.tensor([math.inf, -math.inf, 0.1, -0.3], dtype=torch.float64)
    found, gradient = with_gradient(
        quantize_weight_mean_scaled, raw, torch.ones(4).double(), bits=bits
    )
    size = (2 + math.tanh(0.1) + math.tanh(0.3)) / 4
    assert found[:2].tolist() == pytest.approx([size, -size], rel=1e-14)
    assert found.isfinite().all()
    assert gradient[:2].tolist() == [0, 0]
    if bits > 1:
        assert quantize_weight_dorefa(raw, bits=bits)[:2].tolist() == [1, -1]


@pytest.mark.parametrize("quantize", WEIGHT_QUANTIZERS)
@pytest.mark.parametrize("bits", [0, 9, -1])
def test_other_numbers_of_bits_are_refused(quantize: Callable[..., Tensor], bits: int) -> None:
    text = f"^weight_bits = {bits} is not allowed: give 1 to 8 bits, or null for full precision$"
    with pytest.raises(ValueError, match=text):
        quantize(torch.zeros(2), bits=bits)


def test_one_bit_dorefa_is_the_sign_times_the_mean() -> None:
    raw = torch.tensor([0.5, -1.5, 0.0, -0.0, 2.0, -2.0])
    upstream = torch.tensor([1.0, 2, 3, 4, 5, 6])
    found, gradient = with_gradient(quantize_weight_dorefa, raw, upstream, bits=1)
    assert found.tolist() == [1, -1, 1, 1, 1, -1]  # mean|r| = 6 / 6; sign(0) = +1
    assert torch.equal(gradient, upstream)


@pytest.mark.parametrize("quantize", WEIGHT_QUANTIZERS)
@pytest.mark.parametrize("bits", BITS)
def test_weights_are_left_as_they_were(quantize: Callable[..., Tensor], bits: int) -> None:
    weight = torch.from_numpy(layer())
    before = weight.clone()
    quantize(weight, bits=bits)
    assert torch.equal(weight, before)


# The five steps


@pytest.mark.parametrize("bits", BITS)
def test_steps_of_mean_scaled(bits: int) -> None:
    raw = layer(9)
    steps = weight_steps_mean_scaled(torch.from_numpy(raw), bits=bits)
    w = np.tanh(raw)
    m = 2 * np.abs(w).mean()
    scaled = np.clip(w / m, -0.5, 0.5) + 0.5
    expected = [raw, w, scaled, np_unit(scaled, bits), m * (np_unit(scaled, bits) - 0.5)]
    assert_steps(steps, expected)
    last = quantize_weight_mean_scaled(torch.from_numpy(raw), bits=bits)
    assert torch.equal(steps.stretched, last)


@pytest.mark.parametrize("bits", BITS)
def test_steps_of_dorefa(bits: int) -> None:
    raw = layer(9)
    steps = weight_steps_dorefa(torch.from_numpy(raw), bits=bits)
    w = np.tanh(raw)
    scaled = w / (2 * np.abs(w).max()) + 0.5
    rounded = np_unit(scaled, bits)
    expected = [raw, w, scaled, rounded, 2 * rounded - 1]
    if bits == 1:
        positive = (raw >= 0).astype(float)
        expected = [raw, raw, positive, positive, np.abs(raw).mean() * (2 * positive - 1)]
    assert_steps(steps, expected)
    assert torch.equal(steps.stretched, quantize_weight_dorefa(torch.from_numpy(raw), bits=bits))


def assert_steps(steps: WeightSteps, expected: list[Array]) -> None:
    found = [steps.raw, steps.squashed, steps.scaled, steps.rounded, steps.stretched]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=0, atol=1e-14)
    assert steps.outermost == pytest.approx(steps.stretched.abs().max().item())


@pytest.mark.parametrize("steps", [weight_steps_mean_scaled, weight_steps_dorefa])
@pytest.mark.parametrize("bits", [1, 2])
def test_steps_have_no_gradient(steps: Callable[..., WeightSteps], bits: int) -> None:
    found = steps(torch.randn(5, requires_grad=True), bits=bits)
    assert not any(t.requires_grad for t in (found.scaled, found.rounded, found.stretched))


def test_scales_and_stretches() -> None:
    w = torch.tensor([0.5, -0.25, 0.75, 0.0], dtype=torch.float64)
    scaled, span = scale_by_mean(w)
    assert span == 0.75
    assert scaled.tolist() == pytest.approx([1, 1 / 6, 1, 0.5])
    assert scale_by_max(w).tolist() == pytest.approx([5 / 6, 1 / 3, 1, 0.5])
    unit = torch.tensor([0.0, 1 / 3, 1], dtype=torch.float64)
    assert stretch_by_mean(unit, span).tolist() == pytest.approx([-0.375, -0.125, 0.375])
    assert stretch_by_max(unit).tolist() == pytest.approx([-1, -1 / 3, 1])
    zeros = torch.zeros(3)
    assert scale_by_mean(zeros)[0].tolist() == [0.5] * 3
    assert scale_by_mean(zeros)[1] == 0
    assert scale_by_max(zeros).tolist() == [0.5] * 3


# Features

WAYS = [1, 2, 8, None]  # of one bit, of more, and of none at all


@pytest.mark.parametrize("bits", [*BITS, None])
@pytest.mark.parametrize("scale", [0.1, 0.5, 1])
def test_activation_forward_and_gradient(bits: int | None, scale: float) -> None:
    x, upstream = layer(1, (500,), std=1 / scale), layer(2, (500,))
    found, gradient = with_gradient(quantize_activation, x, upstream, bits=bits, scale=scale)
    clipped = np.clip(scale * x, 0, 1)
    expected = clipped if bits is None else np_unit(clipped, bits)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-15)
    inside = (scale * x >= 0) & (scale * x <= 1)
    assert 50 < inside.sum() < 450
    np.testing.assert_allclose(gradient.numpy(), upstream * scale * inside, rtol=1e-15)


@pytest.mark.parametrize("bits", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.5, 1])
@pytest.mark.parametrize("count", [1, 50])
def test_activation_gradient_includes_the_borders(
    bits: int | None, dtype: torch.dtype, scale: float, count: int
) -> None:
    """Exactly 0 and 1 are inside, the next floats beyond are not; vectorized loops and not."""
    at_zero = neighbours(0.0, dtype)
    at_one = neighbours(1 / scale, dtype)
    values = [*at_zero, -0.0, *at_one, math.inf, -math.inf]
    # Half of the smallest float is zero, and zero is inside.
    expected = [0.0 if scale == 1 else scale, scale, scale, scale, scale, scale, 0, 0, 0]
    for value, slope in zip(values, expected, strict=True):
        x = torch.full((count,), value, dtype=dtype)
        _, gradient = with_gradient(
            quantize_activation, x, torch.ones_like(x), bits=bits, scale=scale
        )
        assert gradient.unique().tolist() == [slope], value


@pytest.mark.parametrize("bits", WAYS)
@pytest.mark.parametrize("scale", [0.1, 1])
@pytest.mark.parametrize("count", [1, 50])
def test_nan_features_stay_nan(bits: int | None, scale: float, count: int) -> None:
    x = torch.full((count,), math.nan)
    assert quantize_activation(x, bits=bits, scale=scale).isnan().all()


SPECIAL = [
    near
    for dtype in DTYPES
    for centre in (0.0, 0.5, 1.0)
    for near in [*neighbours(centre, dtype), -centre]
]


def test_one_bit_path_is_right_for_every_bf16_number() -> None:
    """As training in bf16 calls it: all 65,536 of them, NaN and infinities too."""
    patterns = torch.arange(2**16, dtype=torch.int32).to(torch.int16)
    x = patterns.view(torch.bfloat16).clone().requires_grad_()
    found = quantize_activation(x, bits=1, scale=1)
    found.backward(torch.full_like(found, 3))
    wide = x.detach().double()
    expected = torch.where(wide.isnan(), torch.nan, (wide >= 0.5).double())
    assert torch.equal(found.double().nan_to_num(-1), expected.nan_to_num(-1))
    assert x.grad is not None
    inside = 3 * ((wide >= 0) & (wide <= 1)).double()
    assert torch.equal(x.grad.double()[~wide.isnan()], inside[~wide.isnan()])


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    values=st.lists(
        st.sampled_from(SPECIAL) | st.floats(-2, 3) | st.floats(allow_nan=False),
        min_size=1,
        max_size=40,
    )
)
def test_one_bit_path_equals_clip_and_rounding(dtype: torch.dtype, values: list[float]) -> None:
    x = torch.tensor(values, dtype=dtype)
    upstream = torch.linspace(-1.3, 2.1, len(x), dtype=dtype)
    found, gradient = with_gradient(quantize_activation, x, upstream, bits=1, scale=1)
    expected = quantize_unit(x.clamp(0, 1), bits=1)
    assert found.dtype == dtype
    assert torch.equal(found, expected)
    assert not torch.signbit(found).any()
    by_hand = [float(value >= 0.5) for value in x.tolist()]
    assert found.tolist() == by_hand
    # By hand: at the borders, torch's own clip has a gradient in 2.13, and none in 2.15.
    assert torch.equal(gradient, torch.where((x >= 0) & (x <= 1), upstream, 0.0))


@pytest.mark.parametrize("bits", WAYS)
def test_features_are_left_as_they_were(bits: int | None) -> None:
    for scale in (0.1, 1):
        x = torch.from_numpy(layer(4, (50,)))
        before = x.clone()
        quantize_activation(x, bits=bits, scale=scale)
        assert torch.equal(x, before)


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_other_numbers_of_feature_bits_are_refused(bits: int) -> None:
    text = f"^activation_bits = {bits} is not allowed: give 1 to 8 bits, or null for full precision"
    with pytest.raises(ValueError, match=text):
        quantize_activation(torch.zeros(2), bits=bits, scale=1)


# The dataclass


def test_published_quantizer_is_the_default() -> None:
    found = Quantizer()
    assert found == Quantizer(
        method="mean_scaled", weight_bits=2, activation_bits=1, activation_scale=0.1
    )
    weights = torch.from_numpy(layer())
    np.testing.assert_allclose(
        found.quantize_weight(weights).numpy(), np_mean_scaled(layer(), 2), atol=1e-14
    )


def test_quantizer_uses_method_and_bits() -> None:
    raw = layer()
    found = Quantizer(method="dorefa", weight_bits=3)
    weights = found.quantize_weight(torch.from_numpy(raw))
    np.testing.assert_allclose(weights.numpy(), np_dorefa(raw, 3), atol=1e-14)


def test_unknown_method_is_refused() -> None:
    text = r"^quantizer.method = 'pact' is unknown: choose one of mean_scaled, dorefa$"
    with pytest.raises(ValueError, match=text):
        Quantizer(method="pact")


@pytest.mark.parametrize("name", ["weight_bits", "activation_bits"])
@pytest.mark.parametrize("bits", [0, 9, -1, True, 2.0])
def test_quantizer_refuses_other_numbers_of_bits(name: str, bits: float) -> None:
    settings: dict[str, Any] = {name: bits}
    with pytest.raises(ValueError, match=f"^{name} = {bits} is not allowed: give 1 to 8 bits"):
        Quantizer(**settings)


@pytest.mark.parametrize("scale", [0.0, -0.1, math.nan, math.inf])
def test_quantizer_refuses_a_scale_that_is_not_above_zero(scale: float) -> None:
    with pytest.raises(ValueError, match=f"activation_scale = {scale}"):
        Quantizer(activation_scale=scale)


@pytest.mark.parametrize("bits", [(2, 1), (1, 1), (2, 2), (3, 1), (None, 1), (2, None)])
def test_the_published_bits(bits: tuple[int | None, int | None]) -> None:
    found = Quantizer(weight_bits=bits[0], activation_bits=bits[1])
    assert found.has_published_bits == (bits == (2, 1))
