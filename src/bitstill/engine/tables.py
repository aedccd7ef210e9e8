"""The engine in numba: sums by table, as in ``sums.h`` for the engine in C.

A quad is four neighbouring bits of a patch. What it adds to the output channels depends on which of
16 values it has, so its table has a row for each value, with a byte for each of 32 or 64 channels.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstill.engine.compiled import compiled
from bitstill.engine.lanes import ENTRIES, IMAGE_LINE, image_bits, reached
from bitstill.engine.layout import OFFSETS, SCRATCH_WORDS, Layout, aligned, feature_bits
from bitstill.engine.planes import Bytes
from bitstill.topology import TOPOLOGY

if sys.byteorder != "little":  # _find_rows writes four numbers at once, as one
    raise ImportError("the engine is for little-endian processors")

_CONV1, _CONV21, _CONV22, _CONV31, _CONV32, _CONV41, _CONV42 = OFFSETS


@compiled
def _convolve_image(scratch: Any, image: Any, levels: Any, codes: Any, limits: Any) -> None:
    """Compute conv1, 3 to 16 channels on levels 0..255, with its pool; ``levels`` have a border."""
    for y in range(32):
        for i in range(96):
            levels[(y + 1) * IMAGE_LINE + 3 + i] = image[96 * y + i]
    for y in range(16):
        for x in range(16):
            word = image_bits(levels[2 * y * IMAGE_LINE + 6 * x :], codes, limits)
            scratch[_CONV1 + (y + 1) * 18 + x + 1] = word


@compiled
def _find_rows(words: Any, halves: Any, lanes: Any, rows: Any) -> None:
    """Write where each quad's row lies in its table: four 16-bit numbers for 16 bits of a word."""
    at = 0
    for word in words:
        for half in range(halves):
            bits = np.uint64(word) >> np.uint64(16 * half) & np.uint64(0xFFFF)
            bits = (bits | bits << np.uint64(24)) & np.uint64(0x000000FF000000FF)
            bits = (bits | bits << np.uint64(12)) & np.uint64(0x000F000F000F000F)
            rows[at] = bits * np.uint64(lanes)
            at += 1


@compiled
def _convolve(
    scratch: Any, source: Any, target: Any, shape: Any, tables: Any, limits: Any, rows: Any
) -> None:
    """Compute one convolution of bits.

    ``shape`` is side, quads of a pixel, output channels, and whether pixels are pooled, that is,
    or-ed together. ``limits`` begin with the layer's; ``rows`` is working memory.
    """
    side, quads, channels, pool = shape
    lanes, blocks = min(channels, 64), channels // 32
    width, shift = side + 2, 1 if pool else 0
    words = scratch[source : source + width * width * max(quads // 8, 1)]
    _find_rows(words, 1 if quads < 8 else 2, lanes, rows)
    numbers = rows.view(np.uint16)
    line, length = width * quads, 3 * quads
    for first in range(0, channels, lanes):
        table, least = tables[first * 9 * quads * ENTRIES :], limits[first:]
        for y in range(side):
            for x in range(side):
                places = numbers[(y * width + x) * quads :]
                to = ((y >> shift) + 1) * ((side >> shift) + 2) + (x >> shift) + 1
                to = target + to * blocks + first // 32
                if lanes == 32:
                    word = reached(32, table, places, line, length, least)
                    scratch[to] |= np.uint32(word)
                else:
                    both = reached(64, table, places, line, length, least)
                    scratch[to] |= np.uint32(both)
                    scratch[to + 1] |= np.uint32(both >> np.uint64(32))


@compiled
def _classify(scratch: Any, classifier: Any, bias: Any, logits: Any) -> None:
    """Count the bits of each feature and add their weights, in float64, feature by feature."""
    counts = np.zeros(128, np.int32)
    for y in range(1, 5):
        for x in range(1, 5):
            for word in range(4):
                bits = scratch[_CONV42 + (y * 6 + x) * 4 + word]
                for c in range(32):
                    counts[32 * word + c] += np.int32((bits >> np.uint32(c)) & np.uint32(1))
    totals = np.zeros(len(bias))
    for feature in range(128):
        for label in range(len(bias)):
            totals[label] += counts[feature] * np.float64(classifier[feature, label])
    for label in range(len(bias)):
        logits[label] = np.float32(totals[label] / 16.0 + np.float64(bias[label]))


@compiled
def run(
    images: Any,
    codes: Any,
    first_limits: Any,
    tables: Any,
    thresholds: Any,
    classifier: Any,
    bias: Any,
    logits: Any,
    scratch: Any,
) -> None:
    """Fill logits (N, classes) for images (N, 3072); the scratch keeps the last image's bits."""
    levels = np.zeros(34 * IMAGE_LINE, np.int16)
    rows = np.zeros(18 * 18 * 2, np.uint64)
    for n in range(len(images)):
        scratch[:] = 0
        _convolve_image(scratch, images[n], levels, codes, first_limits)
        w, t = tables, thresholds
        _convolve(scratch, _CONV1, _CONV21, (16, 4, 32, False), w[0], t, rows)
        _convolve(scratch, _CONV21, _CONV22, (16, 8, 32, True), w[1], t[32:], rows)
        _convolve(scratch, _CONV22, _CONV31, (8, 8, 64, False), w[2], t[64:], rows)
        _convolve(scratch, _CONV31, _CONV32, (8, 16, 64, True), w[3], t[128:], rows)
        _convolve(scratch, _CONV32, _CONV41, (4, 16, 128, False), w[4], t[192:], rows)
        _convolve(scratch, _CONV41, _CONV42, (4, 32, 128, False), w[5], t[320:], rows)
        _classify(scratch, classifier, bias, logits[n])


class Tables:
    """Runs a layout in numba.

    Args:
        layout: the model's layout.
    """

    name = "numba"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._codes = np.ascontiguousarray(layout.first[:, :, :9].reshape(16, 27).T, np.int16)
        sizes = [9 * layer.channels_in * layer.channels_out for layer in TOPOLOGY[1:]]
        codes = np.split(layout.codes, np.cumsum(sizes)[:-1])
        self._tables = tuple(
            _tables(one, layer.channels_out) for one, layer in zip(codes, TOPOLOGY[1:], strict=True)
        )

    def run(
        self,
        images: Bytes,
        logits: NDArray[np.float32],
        scratch: NDArray[np.uint32] | None = None,
    ) -> None:
        """Fill logits (N, classes) for images (N, 3072), both contiguous; releases the GIL."""
        one = self._layout
        if scratch is None:
            scratch = np.empty(SCRATCH_WORDS, np.uint32)
        run(
            images,
            self._codes,
            one.first_thresholds,
            self._tables,
            one.thresholds,
            one.classifier,
            one.bias,
            logits,
            scratch,
        )

    def levels(self, image: Bytes) -> list[Bytes]:
        """Return every layer's bits, (side, side, channels), for an image (3072,)."""
        return feature_bits(self.run, image, len(self._layout.bias))


def _tables(codes: NDArray[np.int8], channels: int) -> Bytes:
    """Return a layer's sums of four weights, (blocks, quads, 16 entries, lanes), flat."""
    lanes = min(channels, 64)
    quads = codes.reshape(channels // lanes, lanes, -1, 4).transpose(3, 0, 2, 1)
    tables = aligned(len(codes) // 4 * ENTRIES)
    entries = tables.view(np.int8).reshape(*quads.shape[1:3], ENTRIES, lanes)
    entries[:, :, 0] = 0
    for bit, half in enumerate((1, 2, 4, 8)):
        entries[:, :, half : 2 * half] = entries[:, :, :half] + quads[bit, :, :, None]
    return tables
