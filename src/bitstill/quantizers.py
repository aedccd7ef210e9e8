"""Quantizers of weights and features: pure functions on tensors, and their gradients.

DoReFa-Net is Zhou et al. 2016, arXiv 1606.06160; its equations are cited by number. Two weight
quantizers are here: ``dorefa``, the paper's, and ``mean_scaled``, from the code that produced the
published tables. Each is a chain of the five steps of :class:`WeightSteps`, and each step is a
function of its own.

Rounding is half up everywhere, floor(x + 1/2), never half to even.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bitstill.engine.kernel import levels_function
from bitstill.topology import MAX_BITS


def check_bits(name: str, bits: int | None) -> None:
    """Refuse a number of bits that no quantizer here knows.

    Args:
        name: what the bits belong to, for the message.
        bits: 1 to 8, or None for full precision.

    Raises:
        ValueError: ``bits`` is neither.
    """
    whole = isinstance(bits, int) and not isinstance(bits, bool)
    if bits is not None and not (whole and 1 <= bits <= MAX_BITS):
        raise ValueError(
            f"{name} = {bits} is not allowed: give 1 to {MAX_BITS} bits, or null for full precision"
        )


class _StraightThrough(torch.autograd.Function):
    """Quantized values forward, the identity backward (Bengio et al. 2013, arXiv 1308.3432).

    ``value + (quantized - value).detach()`` has the same gradient, but rounds: its results are
    only near the levels, and codes could not be read back from them.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, quantized: Tensor) -> Tensor:
        return quantized.view_as(quantized)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(value: Tensor, quantized: Tensor) -> Tensor:
    """Return ``quantized``, bit for bit, with the gradient of ``value``.

    Args:
        value: the tensor that gets the gradient, any shape.
        quantized: what it is replaced with, the same shape, itself without gradient.
    """
    result: Tensor = _StraightThrough.apply(value, quantized)  # type: ignore[no-untyped-call]
    return result


class _OneBit(torch.autograd.Function):
    """Clip to [0, 1] and round to one bit, in three passes forward and one backward.

    Equal to the clip and :func:`quantize_unit` at one bit, which need three times as many: most of
    a student's time outside its convolutions went there.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        # The difference is positive exactly where x >= 1/2, and ceil makes that 1; NaN stays NaN.
        below_half = 0.5 - torch.finfo(x.dtype).eps / 4
        return x.sub(below_half).clamp_(0, 1).ceil_()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, x, *_borders(x))  # type: ignore[no-any-return]


def _borders(x: Tensor) -> tuple[float, float]:
    """Return [0, 1] widened by one float: hardtanh has no gradient at its borders, we have one.

    So has torch's clip in 2.13, and not in 2.15.
    """
    limits = torch.finfo(x.dtype)
    return -limits.smallest_normal * limits.eps, 1 + limits.eps


class _Clip(torch.autograd.Function):
    """Clip to [0, 1] and round to ``bits``, or not at all, with one pass backward.

    Equal to the clip and :func:`quantize_unit`, but that torch's gradient of a clip takes several.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: int | None) -> Tensor:
        ctx.save_for_backward(x)
        clipped = x.clamp(0, 1)
        return clipped if bits is None else quantize_unit(clipped, bits=bits)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        # In x's memory format, which a gradient from the average pool does not have.
        of_x = torch.empty_like(x)
        torch.ops.aten.hardtanh_backward(gradient, x, *_borders(x), grad_input=of_x)
        return of_x, None


def round_half_up(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Round to the nearest integer, halves up; NaN stays NaN.

    Not ``floor(x + 0.5)``: that sum itself rounds, and takes the float below 0.5 to 1. Here
    ``x - floor(x)`` is exact for every x >= 0.
    """
    whole = x.floor()
    return whole.add_((x - whole).ge_(0.5))


def quantize_unit(r: Float[Tensor, "*shape"], *, bits: int) -> Float[Tensor, "*shape"]:
    """quantize_k of DoReFa-Net (eq. 5): round to the ``2^bits`` evenly spaced levels of [0, 1].

    ``round((2^k - 1) r) / (2^k - 1)``. No gradient is defined here; the callers pass theirs.

    Args:
        r: values in [0, 1], any shape.
        bits: k, 1 to 8.
    """
    steps = 2**bits - 1
    rounded: Tensor = round_half_up(r * steps).div_(steps)
    return rounded


def squash(weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Step 2 of a weight's quantization: tanh, into (-1, 1)."""
    return torch.tanh(weight)


def mean_span(squashed: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Return m = 2 mean|w| over the layer, the distance of the outer levels of ``mean_scaled``."""
    return 2 * squashed.abs().mean()


def scale_by_mean(
    squashed: Float[Tensor, "*shape"],
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, ""]]:
    """Step 3 of ``mean_scaled``: clip(w / m, -1/2, 1/2) + 1/2 with m = 2 mean|w| over the layer.

    Returns:
        The scaled weights in [0, 1], and m. A layer of zeros has m = 0 and is scaled to 1/2.
    """
    span = mean_span(squashed)
    divisor = torch.where(span == 0, torch.ones_like(span), span)
    return (squashed / divisor).clamp(-0.5, 0.5) + 0.5, span


def scale_by_max(squashed: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Step 3 of ``dorefa`` (inside eq. 9): w / (2 max|w|) + 1/2, in [0, 1].

    The maximum is over the whole layer. A layer of zeros is scaled to 1/2.
    """
    largest = squashed.abs().max()
    divisor = torch.where(largest == 0, torch.ones_like(largest), largest)
    return squashed / (2 * divisor) + 0.5


def stretch_by_mean(
    rounded: Float[Tensor, "*shape"], span: Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """Step 5 of ``mean_scaled``: from [0, 1] back to [-mean|w|, mean|w|]."""
    return span * (rounded - 0.5)


def _to_levels_by_mean(squashed: Tensor, *, bits: int) -> Tensor:
    """Steps 3 to 5 of ``mean_scaled``; on a CPU in one pass in C, with the same bits."""
    to_levels = levels_function()
    plain = squashed.device.type == "cpu" and squashed.dtype == torch.float32
    dense = squashed.is_contiguous() or squashed.is_contiguous(memory_format=torch.channels_last)
    if not (to_levels and plain and dense):
        scaled, span = scale_by_mean(squashed)
        return stretch_by_mean(quantize_unit(scaled, bits=bits), span)
    quantized, m = torch.empty_like(squashed), float(mean_span(squashed))
    to_levels(squashed.data_ptr(), squashed.numel(), m, 2**bits - 1, quantized.data_ptr())
    return quantized


class _MeanScaled(torch.autograd.Function):
    """:func:`quantize_weight_mean_scaled`: quantized forward, tanh's gradient backward."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int) -> Tensor:
        squashed = squash(weight)
        ctx.save_for_backward(squashed)
        return _to_levels_by_mean(squashed, bits=bits)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (squashed,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(gradient, squashed), None


def stretch_by_max(rounded: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Step 5 of ``dorefa``: from [0, 1] back to [-1, 1]."""
    return 2 * rounded - 1


@dataclass(frozen=True)
class WeightSteps:
    """A layer's weights after each step of quantization (the report's Figure 4).

    Attributes:
        raw: the trained weights.
        squashed: their tanh.
        scaled: in [0, 1].
        rounded: on ``2^bits`` levels of [0, 1].
        stretched: the quantized weights.
        outermost: their largest level, 0 or more: they are spread evenly from -outermost to it.
    """

    raw: Tensor
    squashed: Tensor
    scaled: Tensor
    rounded: Tensor
    stretched: Tensor
    outermost: float


def weight_steps_mean_scaled(weight: Float[Tensor, "*shape"], *, bits: int) -> WeightSteps:
    """Return the five steps of :func:`quantize_weight_mean_scaled`, without gradients.

    Args:
        weight: r, all weights of one layer, any shape.
        bits: k, 1 to 8: full precision has no steps.

    Raises:
        ValueError: ``bits`` is out of range.
    """
    check_bits("weight_bits", bits)
    with torch.no_grad():
        squashed = squash(weight)
        scaled, span = scale_by_mean(squashed)
        rounded = quantize_unit(scaled, bits=bits)
        stretched = stretch_by_mean(rounded, span)
        return WeightSteps(weight, squashed, scaled, rounded, stretched, span.item() / 2)


def weight_steps_dorefa(weight: Float[Tensor, "*shape"], *, bits: int) -> WeightSteps:
    """Return the five steps of :func:`quantize_weight_dorefa`, without gradients.

    One bit has its own formula in the paper, with neither tanh nor maximum: there, ``squashed``
    is the raw weight, ``scaled`` and ``rounded`` its sign as 0 or 1.

    Args:
        weight: r, all weights of one layer, any shape.
        bits: k, 1 to 8: full precision has no steps.

    Raises:
        ValueError: ``bits`` is out of range.
    """
    check_bits("weight_bits", bits)
    with torch.no_grad():
        if bits == 1:
            positive = (weight >= 0).to(weight.dtype)
            quantized = quantize_weight_dorefa(weight, bits=1)
            largest = weight.abs().mean().item()
            return WeightSteps(weight, weight, positive, positive, quantized, largest)
        squashed = squash(weight)
        scaled = scale_by_max(squashed)
        rounded = quantize_unit(scaled, bits=bits)
        return WeightSteps(weight, squashed, scaled, rounded, stretch_by_max(rounded), 1.0)


def quantize_weight_mean_scaled(
    weight: Float[Tensor, "*shape"], *, bits: int | None
) -> Float[Tensor, "*shape"]:
    """Quantize a layer's weights to ``2^bits`` levels between -mean|w| and mean|w|, w = tanh(r).

    The formula of the code behind the published tables (not the paper's)::

        w = tanh(r);  m = 2 mean|w|;  w_q = m (quantize_k(clip(w / m, -1/2, 1/2) + 1/2) - 1/2)

    Gradient: straight through the whole map from w_q back to w, so that of tanh alone remains,
    ``1 - tanh(r)^2``; neither the clip nor m takes part.

    Args:
        weight: r, all weights of one layer, any shape.
        bits: k, 1 to 8; None returns ``weight`` itself.

    Returns:
        w_q of the same shape; at two bits its levels are mean|w| * {-1, -1/3, 1/3, 1}. A layer of
        zeros stays zero; infinities quantize to the outer levels; one NaN makes the layer NaN.

    Raises:
        ValueError: ``bits`` is not 1 to 8 or None.
    """
    check_bits("weight_bits", bits)
    if bits is None:
        return weight
    result: Tensor = _MeanScaled.apply(weight, bits)  # type: ignore[no-untyped-call]
    return result


def quantize_weight_dorefa(
    weight: Float[Tensor, "*shape"], *, bits: int | None
) -> Float[Tensor, "*shape"]:
    """Quantize a layer's weights to ``2^bits`` levels of [-1, 1], as the paper does (eq. 9).

    For more than one bit::

        w = tanh(r);  w_q = 2 quantize_k(w / (2 max|w|) + 1/2) - 1

    Gradient: straight through quantize_k alone; the rest, the maximum included, is differentiated.

    For one bit (eq. 8): ``sign(r) * mean|r|`` with sign(0) = 1, straight through to r.

    Args:
        weight: r, all weights of one layer, any shape.
        bits: k, 1 to 8; None returns ``weight`` itself.

    Returns:
        w_q of the same shape. In a layer of zeros, w / max|w| counts as 0, which rounds up; one
        NaN makes the layer NaN.

    Raises:
        ValueError: ``bits`` is not 1 to 8 or None.
    """
    check_bits("weight_bits", bits)
    if bits is None:
        return weight
    if bits == 1:
        size = weight.detach().abs().mean()
        return straight_through(weight, torch.where(weight.detach() >= 0, size, -size))
    scaled = scale_by_max(squash(weight))
    return stretch_by_max(straight_through(scaled, quantize_unit(scaled.detach(), bits=bits)))


def quantize_activation(
    x: Float[Tensor, "*shape"], *, bits: int | None, scale: float
) -> Float[Tensor, "*shape"]:
    """Quantize features: clip(scale x, 0, 1) to ``2^bits`` levels (eq. 11, where scale is 1).

    Gradient: that of the clip, ``scale`` where 0 <= scale x <= 1 and zero elsewhere (unspecified
    at NaN, where the loss is NaN too).

    Args:
        x: features, any shape.
        bits: k, 1 to 8; None clips without rounding.
        scale: the multiplier; 0.1 in the code behind the published tables.

    Returns:
        Features of the same shape in [0, 1]; NaN stays NaN.

    Raises:
        ValueError: ``bits`` is not 1 to 8 or None.
    """
    check_bits("activation_bits", bits)
    scaled = x if scale == 1 else scale * x
    if bits == 1:
        one_bit: Tensor = _OneBit.apply(scaled)  # type: ignore[no-untyped-call]
        return one_bit
    result: Tensor = _Clip.apply(scaled, bits)  # type: ignore[no-untyped-call]
    return result


WEIGHT_QUANTIZERS: dict[str, Callable[..., Tensor]] = {
    "mean_scaled": quantize_weight_mean_scaled,
    "dorefa": quantize_weight_dorefa,
}
WEIGHT_STEPS: dict[str, Callable[..., WeightSteps]] = {
    "mean_scaled": weight_steps_mean_scaled,
    "dorefa": weight_steps_dorefa,
}


@dataclass(frozen=True)
class Quantizer:
    """The quantizer settings of one student.

    Attributes:
        method: ``mean_scaled`` or ``dorefa``.
        weight_bits: 1 to 8, or None for full precision.
        activation_bits: 1 to 8, or None for clipped features in full precision.
        activation_scale: the multiplier in front of the clip, above 0.

    Raises:
        ValueError: one of them is out of range.
    """

    method: str = "mean_scaled"
    weight_bits: int | None = 2
    activation_bits: int | None = 1
    activation_scale: float = 0.1

    def __post_init__(self) -> None:
        if self.method not in WEIGHT_QUANTIZERS:
            raise ValueError(
                f"quantizer.method = {self.method!r} is unknown: "
                f"choose one of {', '.join(WEIGHT_QUANTIZERS)}"
            )
        check_bits("weight_bits", self.weight_bits)
        check_bits("activation_bits", self.activation_bits)
        if not 0 < self.activation_scale < math.inf:
            raise ValueError(
                f"activation_scale = {self.activation_scale} is not allowed: give a finite number "
                "above 0"
            )

    @property
    def has_published_bits(self) -> bool:
        """Whether weights have 2 bits and features 1, as the kernels in C need."""
        return (self.weight_bits, self.activation_bits) == (2, 1)

    def quantize_weight(self, weight: Tensor) -> Tensor:
        """Quantize all weights of one layer, any shape, as ``method`` does."""
        return WEIGHT_QUANTIZERS[self.method](weight, bits=self.weight_bits)
