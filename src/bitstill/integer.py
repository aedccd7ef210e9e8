"""The student as integers: the reference for its evaluation and its deployment.

Weights are odd codes of -(2^k - 1) .. 2^k - 1 (at two bits -3, -1, 1, 3: there is no zero), the
image is 0..255, features are levels 0 .. 2^a - 1. Every convolution is then an exact integer sum,
and :mod:`bitstill.folding` turns what follows it into integer thresholds. The max pool takes the
largest level (of bits: an OR), the average pool adds levels (of bits: a count), and the last layer
is float. The float path of :class:`bitstill.models.Student` rounds at every step and can differ
where a value is within its rounding error of a half; this network does not round.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeGuard

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bitstill.errors import UserError
from bitstill.folding import DIVERGED, Channels, fold
from bitstill.models import Network, Student, StudentBlock
from bitstill.quantizers import WEIGHT_STEPS, Quantizer
from bitstill.topology import TOPOLOGY, Layer

IMAGE_LEVELS = 255
POOLED = 16  # pixels under the average pool
_COMPARED = 15  # up to so many thresholds are compared one by one; for more, a search is faster


def codes_and_unit(weight: Tensor, quantizer: Quantizer) -> tuple[Tensor, Fraction]:
    """Return a layer's weights as odd integers, and the value of one unit.

    ``quantize_weight(weight) = unit * codes`` but for the rounding of float32, with codes =
    2 q - (2^k - 1) for the k-bit number q of DoReFa-Net's quantize_k, and unit = the outermost
    level / (2^k - 1): mean|tanh r| for ``mean_scaled``; 1 for ``dorefa``, at one bit mean|r|.

    Args:
        weight: r, float32, any shape.
        quantizer: with 1 to 8 weight bits.

    Returns:
        int16 codes of the same shape, and the unit, 0 or more.

    Raises:
        ValueError: a weight is not finite.
        UserError: the quantizer's steps give other weights than it does itself.
    """
    bits = quantizer.weight_bits
    assert bits is not None  # noqa: S101  # integer_network has refused None
    levels, device = 2**bits - 1, weight.device
    weight = weight.detach().cpu()
    with _one_thread():
        steps = WEIGHT_STEPS[quantizer.method](weight, bits=bits)
        if not bool(torch.isfinite(steps.stretched).all()):
            raise ValueError(DIVERGED)
        codes = 2 * (steps.rounded.double() * levels).round() - levels
        trained = quantizer.quantize_weight(weight)
        if not _are_near(codes * (steps.outermost / levels), trained, steps.outermost):
            raise UserError(
                f"quantizer.method = {quantizer.method} gives other weights than its steps, or "
                "other levels than 2^bits, spread evenly from -m to m: kernels and integers "
                "compute those alone (CONTRIBUTING.md, Adding a choice)"
            )
    return codes.to(torch.int16).to(device), Fraction(steps.outermost) / levels


def _are_near(some: Tensor, others: Tensor, outermost: float) -> bool:
    """Whether weights are equal except for float32 rounding."""
    rounding = 1e-5 * outermost + torch.finfo(torch.float32).smallest_normal
    return bool((some - others).abs().max() <= rounding)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, so that floats are always added in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """One convolution and its thresholds.

    Attributes:
        layer: its place in the topology.
        codes: odd integers, int16, (channels_out, channels_in, 3, 3).
        thresholds: int32, (channels_out, levels): a channel's level is how many of its thresholds
            the sum reaches, and features that are read have as many levels above 0.
    """

    layer: Layer
    codes: Tensor
    thresholds: Tensor

    @functools.cached_property
    def fits_float32(self) -> bool:
        """Whether float32 holds every sum: it holds all integers below 2^24."""
        largest = _largest_input(self.layer, levels=self.thresholds.shape[1])
        return int(_bounds(self.codes, largest).max()) < 2**24

    @functools.cached_property
    def exact_codes(self) -> Tensor:
        """The codes as floats that hold every sum."""
        return self.codes.to(torch.float32 if self.fits_float32 else torch.float64)

    def sums(self, levels: Tensor) -> Tensor:
        """Convolve, exactly; (N, channels_in, H, W) -> (N, channels_out, H, W), as floats.

        Every partial sum, in whatever order, is an integer of at most :func:`_bounds`. What float32
        cannot hold of them and of the products, fused or not, float64 does.
        """
        levels = levels.to(self.exact_codes.dtype)
        if levels.is_cuda:
            return convolved_in_one_product(levels, self.exact_codes)
        with torch.backends.nnpack.flags(enabled=False):  # its Winograd transform rounds
            return F.conv2d(levels, self.exact_codes, padding=1)

    def forward(self, levels: Tensor) -> Tensor:
        """Return the block's levels, float32; shapes as in :meth:`sums`, a pool halves H and W."""
        sums = self.sums(levels)
        # Pooling sums instead of levels is equal, and compares a quarter as many.
        return self._reached(F.max_pool2d(sums, 2) if self.layer.pool else sums)

    def _reached(self, sums: Tensor) -> Tensor:
        """Count how many of its channel's thresholds each sum reaches, as float32."""
        if self.thresholds.shape[1] > _COMPARED:
            rows = sums.transpose(0, 1).flatten(start_dim=1).contiguous()
            counted = torch.searchsorted(self.thresholds.to(sums.dtype), rows, right=True)
            return counted.view(sums.transpose(0, 1).shape).transpose(0, 1).float()
        # sum - (threshold - 1), an integer, is clipped to [0, 1]: 1 where the threshold is reached.
        below = (self.thresholds - 1).to(sums.dtype)[:, :, None, None].unbind(1)
        counted, room = torch.sub(sums, below[0]).clamp_(0, 1), torch.empty_like(sums)
        for one in below[1:]:
            counted += torch.sub(sums, one, out=room).clamp_(0, 1)
        return counted.float()


def convolved_in_one_product(levels: Tensor, codes: Tensor) -> Tensor:
    """Convolve 3x3 with a border of zeros, exactly where every sum is.

    cuDNN may transform its input (Winograd, FFT), which is not exact, and without it torch takes a
    GPU's convolutions image by image.

    Args:
        levels: (N, channels_in, H, W).
        codes: of the same type, (channels_out, channels_in, 3, 3).

    Returns:
        (N, channels_out, H, W).
    """
    bordered = F.pad(levels.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    windows = bordered.unfold(1, 3, 1).unfold(2, 3, 1)  # (N, H, W, channels_in, 3, 3)
    rows = windows.flatten(start_dim=3).flatten(end_dim=2)
    sums = rows @ codes.flatten(start_dim=1).T
    return sums.view(*windows.shape[:3], -1).permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A student as integers. Calling it gives logits; :meth:`levels` every layer's levels.

    Attributes:
        layers: the convolutions, in order.
        weight: of the last layer, float32, (classes, 128).
        bias: of the last layer, float32, (classes,).
        weight_bits: k.
        activation_bits: a.
    """

    layers: tuple[IntegerLayer, ...]
    weight: Tensor
    bias: Tensor
    weight_bits: int
    activation_bits: int

    def levels(self, images: Tensor) -> list[Tensor]:
        """Return each layer's levels after its pool, float32, (N, channels, H, W).

        Args:
            images: uint8, (N, 32, 32, 3).
        """
        features = images.permute(0, 3, 1, 2).float()
        found = []
        for layer in self.layers:
            features = layer.forward(features)
            found.append(features)
        return found

    def classify(self, levels: Tensor) -> Tensor:
        """Average pool and last layer: (N, 128, 4, 4) -> float32 logits (N, classes).

        ``sum(count * weight) / (16 n) + bias`` in float64, features one after the other: so every
        engine gets the same bits. A count times a float32 weight is exact there.
        """
        counts = levels.double().sum(dim=(2, 3)).cpu()  # on a GPU: hundreds of tiny kernels
        weight, bias = self.weight.double().cpu(), self.bias.double().cpu()
        total = torch.zeros(len(counts), len(bias), dtype=torch.float64)
        for count, column in zip(counts.unbind(1), weight.unbind(1), strict=True):
            total += count[:, None] * column
        scale = POOLED * (2**self.activation_bits - 1)
        logits: Tensor = (total / scale + bias).float().to(levels.device)
        return logits

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 logits (N, classes) for uint8 images (N, 32, 32, 3)."""
        return self.classify(self.levels(images)[-1])


def has_integer_form(network: Network) -> TypeGuard[Student]:
    """Whether a network is a student with quantized weights and features."""
    if not isinstance(network, Student):
        return False
    quantizer = network.quantizer
    return quantizer.weight_bits is not None and quantizer.activation_bits is not None


def integer_network(student: Student) -> IntegerNetwork:
    """Fold a student, with the batch norm statistics that it holds, into integers.

    Args:
        student: with 1 to 8 bits for weights and features.

    Raises:
        ValueError: weights or features are in full precision; or the run has diverged: a number is
            not finite, or a variance negative.
        UserError: the quantizer is one of your own that does not fit, see :func:`codes_and_unit`.
    """
    quantizer = student.quantizer
    weight_bits, activation_bits = quantizer.weight_bits, quantizer.activation_bits
    if weight_bits is None or activation_bits is None:
        name = "weight_bits" if weight_bits is None else "activation_bits"
        raise ValueError(
            f"quantizer.{name} = null is full precision and has no integer form: "
            "export a student with 1 to 8 bits"
        )
    return IntegerNetwork(
        tuple(map(_integer_layer, TOPOLOGY, student.stages())),
        student.classifier.weight.detach().clone(),
        student.classifier.bias.detach().clone(),
        weight_bits,
        activation_bits,
    )


def _integer_layer(layer: Layer, block: object) -> IntegerLayer:
    assert isinstance(block, StudentBlock)  # noqa: S101  # a student's blocks all are
    bits = block.quantizer.activation_bits
    assert bits is not None and block.conv.bias is not None  # noqa: S101, PT018  # both are set
    codes, unit = codes_and_unit(block.conv.weight, block.quantizer)
    mean, variance = block.statistics
    largest = _largest_input(layer, levels=2**bits - 1)
    channels = Channels(
        step=unit / largest,
        bias=_float64(block.conv.bias),
        mean=_float64(mean),
        variance=_float64(variance),
        epsilon=block.norm.eps,
        gain=_float64(block.gain),
        offset=_float64(block.offset),
        scale=block.quantizer.activation_scale,
    )
    thresholds = fold(channels, _bounds(codes, largest).cpu().numpy(), bits=bits)
    return IntegerLayer(layer, codes, torch.from_numpy(thresholds).to(codes.device))


def _largest_input(layer: Layer, *, levels: int) -> int:
    """Return the largest number that a layer reads: an image's, or a feature level."""
    return IMAGE_LEVELS if layer == TOPOLOGY[0] else levels


def _bounds(codes: Tensor, largest_input: int) -> Tensor:
    """Return the largest |sum| of each channel, int64, (channels_out,)."""
    return codes.long().abs().flatten(start_dim=1).sum(dim=1) * largest_input


def _float64(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().cpu().double().numpy()
