"""The numba engine for bit widths other than 2 and 1: integer products, levels by thresholds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstill.engine.compiled import compiled
from bitstill.engine.layout import SIDES
from bitstill.engine.packed import PackedModel
from bitstill.engine.planes import Bytes, unpack_codes
from bitstill.topology import TOPOLOGY, Layer


@compiled
def _reach(sums: Any, limits: Any, levels: Any) -> None:
    """Fill levels with how many of its channel's thresholds each sum reaches."""
    levels[:] = 0
    for level in range(len(limits)):
        limit = limits[level]
        for c in range(len(sums)):
            levels[c] += np.uint8(sums[c] >= limit[c])


@compiled
def _convolve(source: Any, side: Any, depth: Any, codes: Any, limits: Any, levels: Any) -> None:
    """Fill levels (side, side, channels) from a source (side + 2, side + 2, depth), flat.

    ``codes`` is (3 rows, 3 * depth, channels), ``limits`` (levels, channels).
    """
    row, channels = 3 * depth, codes.shape[2]
    sums = np.zeros(channels, np.int32)
    for y in range(side):
        for x in range(side):
            sums[:] = 0
            for ky in range(3):
                start = ((y + ky) * (side + 2) + x) * depth
                for i in range(row):
                    value, w = np.int32(source[start + i]), codes[ky, i]
                    for c in range(channels):
                        sums[c] += value * w[c]
            _reach(sums, limits, levels[y, x])


@compiled
def _pad(levels: Any, pool: Any, target: Any) -> None:
    """Write levels, or the largest of 2x2, into a flat target with a border of zeros."""
    step = 2 if pool else 1
    side, channels = levels.shape[0] // step, levels.shape[2]
    target[:] = 0
    for y in range(side * step):
        for x in range(side * step):
            at = ((y // step + 1) * (side + 2) + x // step + 1) * channels
            for c in range(channels):
                target[at + c] = max(target[at + c], levels[y, x, c])


class General:
    """Runs a model of any bit widths.

    Args:
        model: the packed model, with weights and features of 1 to 8 bits.
    """

    name = "numba (any bits)"

    def __init__(self, model: PackedModel) -> None:
        self._model = model
        self._layers = [
            (_codes(packed.planes, layer), np.ascontiguousarray(packed.thresholds.T))
            for layer, packed in zip(TOPOLOGY, model.layers, strict=True)
        ]

    def levels(self, image: Bytes) -> list[Bytes]:
        """Return every layer's levels, uint8, (side, side, channels), for an image (3072,)."""
        padded = np.pad(image.reshape(32, 32, 3), ((1, 1), (1, 1), (0, 0))).ravel()
        found, side = [], 32
        for layer, (codes, limits), after in zip(TOPOLOGY, self._layers, SIDES, strict=True):
            channels = layer.channels_out
            levels = np.empty((side, side, channels), np.uint8)
            _convolve(padded, side, layer.channels_in, codes, limits, levels)
            padded = np.empty((after + 2) * (after + 2) * channels, np.uint8)
            _pad(levels, layer.pool, padded)
            side = after
            found.append(padded.reshape(side + 2, side + 2, channels)[1:-1, 1:-1])
        return found

    def run(self, images: Bytes, logits: NDArray[np.float32]) -> None:
        """Fill logits (N, classes) for images (N, 3072)."""
        model = self._model
        weight, scale = model.weight.astype(np.float64), 16 * (2**model.activation_bits - 1)
        for image, row in zip(images, logits, strict=True):
            counts = self.levels(image)[-1].sum(axis=(0, 1), dtype=np.float64)
            totals = np.zeros(len(row))
            for feature, count in enumerate(counts):  # the order of additions affects the result
                totals += count * weight[:, feature]
            row[:] = totals / scale + model.bias.astype(np.float64)


def _codes(planes: Bytes, layer: Layer) -> NDArray[np.int32]:
    codes = unpack_codes(planes, layer)
    rows = codes.transpose(2, 3, 1, 0).reshape(3, 3 * layer.channels_in, layer.channels_out)
    return np.ascontiguousarray(rows, np.int32)
