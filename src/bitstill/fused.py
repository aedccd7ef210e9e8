"""A student's block in training as one function in C, for published bits on a CPU.

Convolution, batch norm, one bit and pool of :class:`bitstill.models.StudentBlock` for 2-bit weights
and 1-bit features. Features and statistics come from exact integer sums, so they are those of the
plain path without its rounding; gradients are the plain path's but for rounding. That of the
weights that read the image stays torch's.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from bitstill.engine.training import COLOURS, Shape, TrainingBlock, fits, training_available

_LAST = torch.channels_last


def _room(shape: tuple[int, ...]) -> Tensor:
    """Return memory for the kernel to fill, whatever torch's default type is."""
    return torch.empty(shape, dtype=torch.float32, device="cpu", memory_format=_LAST)


class _Gradient(torch.autograd.Function):
    """Attaches the gradient to features that are already computed."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        gain: Tensor,
        offset: Tensor,
        features: Tensor,
        block: TrainingBlock,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias, gain)
        ctx.block = block
        return features.view_as(features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, gain = ctx.saved_tensors
        # Hooks may have made them anew, as activation checkpointing does, in another memory format.
        x, weight = (one.contiguous(memory_format=_LAST) for one in (x, weight))
        gradient = gradient.contiguous(memory_format=_LAST)
        of_gain, of_offset = torch.empty_like(gain), torch.empty_like(gain)
        convolved = _room((len(x), len(bias), *x.shape[2:]))
        ctx.block.backward(
            x=x.data_ptr(),
            weight=weight.data_ptr(),
            gain=gain.data_ptr(),
            y_gradient=gradient.data_ptr(),
            gradient=convolved.data_ptr(),
            gain_gradient=of_gain.data_ptr(),
            offset_gradient=of_offset.data_ptr(),
        )
        of_x: Tensor | None = None
        if x.shape[1] == COLOURS:
            of_weight = conv2d_weight(x, weight.shape, convolved, padding=1)
        else:
            of_x, of_weight = torch.empty_like(x), torch.empty_like(weight)  # also channels-last
            ctx.block.weights_backward(of_weight.data_ptr())
            ctx.block.input_backward(of_x.data_ptr())
        # Batch norm subtracts the bias again: its gradient is exactly zero, without rounding noise.
        of_bias = torch.zeros_like(bias)
        return of_x, of_weight, of_bias, of_gain, of_offset, None, None


def may_be_fused(x: Tensor) -> bool:
    """Whether :func:`fused_block` may be used: there is a kernel, and x is on a CPU."""
    return x.device.type == "cpu" and training_available()


def fused_block(
    x: Tensor,
    weight: Tensor,
    *,
    bias: Tensor,
    gain: Tensor,
    offset: Tensor,
    multiplier: float,
    statistics: tuple[Tensor, Tensor],
    momentum: float,
    epsilon: float,
    pool: bool,
) -> Tensor | None:
    """Return a block's features in training, or None if only the plain path can.

    ``max_pool(quantize(multiplier * ((|gain| + 1) * n + offset)))`` with ``n =
    batch_norm(conv2d(x, weight, bias))``, in float32 under autocast too: none of its long passes
    is torch's.

    Args:
        x: bits as numbers, (N, channels_in, H, W), channels-last; or the image, levels / 255.
        weight: quantized to 2 bits, (channels_out, channels_in, 3, 3), channels-last.
        bias: of the convolution, (channels_out,).
        gain: of the affine, (channels_out,), of any sign.
        offset: likewise.
        multiplier: in front of the clip, above 0.
        statistics: running mean and variance, (channels_out,) each; they are moved in place.
        momentum: weight of this batch in the running statistics.
        epsilon: added to the variance.
        pool: whether a max pool of 2x2 ends the block.

    Returns:
        0 and 1 as float32, (N, channels_out, H, W), channels-last; half as high and wide with a
        pool.
    """
    shape = Shape(len(x), x.shape[2], x.shape[1], len(bias), pool)
    if not (_is_plain(x, weight, bias, gain, offset, *statistics) and fits(shape)):
        return None
    side = x.shape[2] // 2 if pool else x.shape[2]
    features = _room((len(x), len(bias), side, side))
    block = TrainingBlock(
        shape,
        multiplier=multiplier,
        momentum=momentum,
        epsilon=epsilon,
        threads=torch.get_num_threads(),
    )
    tensors = {"x": x, "weight": weight, "bias": bias, "gain": gain, "offset": offset}
    tensors |= {"running_mean": statistics[0], "running_variance": statistics[1], "y": features}
    if not block.forward(**{name: one.data_ptr() for name, one in tensors.items()}):
        return None
    result: Tensor = _Gradient.apply(x, weight, bias, gain, offset, features, block)  # type: ignore[no-untyped-call]
    return result


def _is_plain(x: Tensor, weight: Tensor, *vectors: Tensor) -> bool:
    """Whether all lies in memory as the passes read it; an image gets no gradient from them."""
    tensors = (x, weight, *vectors)
    channels = vectors[0].shape
    return (
        x.shape[2] == x.shape[3]
        and weight.shape == (*channels, x.shape[1], 3, 3)
        and all(one.shape == channels for one in vectors)
        and not (x.shape[1] == COLOURS and x.requires_grad)
        and all(one.device.type == "cpu" and one.dtype == torch.float32 for one in tensors)
        and all(one.is_contiguous(memory_format=_LAST) for one in (x, weight))
        and all(one.is_contiguous() for one in vectors)
    )
