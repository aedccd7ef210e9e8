"""How the engines for weights of 1 or 2 bits and 1-bit features hold a model in memory.

A feature map consists of words of 32 channels, pixel after pixel, with a border of zero pixels;
conv1 has 16 output channels, which fill the lower half of a word. A pixel's *patch* is its 3x3
neighbourhood, row by row.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstill.engine.packed import PackedLayer, PackedModel
from bitstill.engine.planes import Bytes, unpack_codes
from bitstill.topology import TOPOLOGY, Layer

LANES = 32
_CACHE_LINE = 64  # bytes
IMAGE_BYTES = 32 * 32 * 3
SIDES = (16, 16, 8, 8, 4, 4, 4)  # height and width of each layer's output
# Words of each layer's output, including its border; one scratch array holds them all.
_SIZES = [
    (side + 2) * (side + 2) * -(-layer.channels_out // LANES)
    for side, layer in zip(SIDES, TOPOLOGY, strict=True)
]
*OFFSETS, SCRATCH_WORDS = accumulate(_SIZES, initial=0)


@dataclass(frozen=True, eq=False)
class Layout:
    """A model as the engines read it.

    Attributes:
        first: weight codes of conv1, int8, (16 channels, 3 rows, 12): a row is three pixels of
            three colours, and three zeros.
        first_thresholds: int16, (16,), clipped to int16, since no sum of conv1 exceeds
            27 * 255 * 3.
        codes: weight codes of the other layers, int8, flat, layer after layer: for each output
            channel a code for each bit of a patch.
        thresholds: the other layers', int16, (448,), clipped likewise: their sums are smaller.
        classifier: float32, (128, classes).
        bias: float32, (classes,).
    """

    first: NDArray[np.int8]
    first_thresholds: NDArray[np.int16]
    codes: NDArray[np.int8]
    thresholds: NDArray[np.int16]
    classifier: NDArray[np.float32]
    bias: NDArray[np.float32]


def lay_out(model: PackedModel) -> Layout:
    """Return the layout of a model with weights of 1 or 2 bits and 1-bit features."""
    if model.weight_bits == 1:
        model = _in_two_bits(model)
    first = unpack_codes(model.layers[0].planes, TOPOLOGY[0])
    rows = first.transpose(0, 2, 3, 1).reshape(16, 3, 9)
    return Layout(
        first=np.pad(rows, ((0, 0), (0, 0), (0, 3))).astype(np.int8),
        first_thresholds=_clipped(model.layers[0]),
        codes=np.concatenate(
            [
                _codes(packed.planes, layer)
                for layer, packed in zip(TOPOLOGY[1:], model.layers[1:], strict=True)
            ]
        ),
        thresholds=np.concatenate([_clipped(packed) for packed in model.layers[1:]]),
        classifier=np.ascontiguousarray(model.weight.T),
        bias=model.bias,
    )


def _clipped(packed: PackedLayer) -> NDArray[np.int16]:
    limits = np.iinfo(np.int16)
    return packed.thresholds[:, 0].clip(limits.min, limits.max).astype(np.int16)


def _in_two_bits(model: PackedModel) -> PackedModel:
    """Return a student with 1-bit weights as one with 2 bits: codes and thresholds times 3."""
    layers = tuple(
        PackedLayer(np.concatenate([one.planes, one.planes]), 3 * one.thresholds)
        for one in model.layers
    )
    return dataclasses.replace(model, layers=layers)


def _codes(planes: Bytes, layer: Layer) -> NDArray[np.int8]:
    return unpack_codes(planes, layer).astype(np.int8).transpose(0, 2, 3, 1).ravel()


def aligned(count: int) -> Bytes:
    """Return a buffer of ``count`` bytes that is aligned to cache lines."""
    room = np.empty(count + _CACHE_LINE, np.uint8)
    return room[-address(room) % _CACHE_LINE :][:count]


def address(array: NDArray[Any]) -> int:
    """Return the address of an array's data, for the library."""
    data: int = array.__array_interface__["data"][0]  # .ctypes.data would take a microsecond
    return data


def feature_bits(
    run: Callable[[Bytes, NDArray[np.float32], NDArray[np.uint32]], None],
    image: Bytes,
    classes: int,
) -> list[Bytes]:
    """Return every layer's bits of an image (3072,), uint8, (side, side, channels).

    Args:
        run: fills logits and scratch for images.
        image: the image.
        classes: how many logits there are.
    """
    scratch = np.zeros(SCRATCH_WORDS, np.uint32)
    run(image[None], np.empty((1, classes), np.float32), scratch)
    found = []
    for layer, side, part in zip(TOPOLOGY, SIDES, np.split(scratch, OFFSETS[1:]), strict=True):
        padded = part.reshape(side + 2, side + 2, -1)
        inner = np.ascontiguousarray(padded[1:-1, 1:-1].astype("<u4"))
        bits = np.unpackbits(inner.view(np.uint8), axis=-1, bitorder="little")
        found.append(bits[..., : layer.channels_out])
    return found
