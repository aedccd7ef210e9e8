"""The first layer of the numba engine: bytes times small codes, in 16 bits."""

from typing import Any

import numpy as np

from bitstill.engine.compiled import compiled
from bitstill.engine.lanes import largest, plus_product
from bitstill.engine.layout import OFFSETS

_CONV1 = OFFSETS[0]


@compiled
def _colour(sums: Any, plane: Any, w: Any) -> None:
    """Add one colour's 3x3 neighbourhoods to the sums of all pixels.

    The lanes are pixels, row after row: 34 a row with the border, so the last two sums of a row
    mean nothing.
    """
    for at in range(32 * 34):
        s = plus_product(sums[at], plane[at], w[0])
        s = plus_product(s, plane[at + 1], w[1])
        s = plus_product(s, plane[at + 2], w[2])
        s = plus_product(s, plane[at + 34], w[3])
        s = plus_product(s, plane[at + 35], w[4])
        s = plus_product(s, plane[at + 36], w[5])
        s = plus_product(s, plane[at + 68], w[6])
        s = plus_product(s, plane[at + 69], w[7])
        sums[at] = plus_product(s, plane[at + 70], w[8])


@compiled
def _pooled(sums: Any, limit: Any, bit: Any, words: Any) -> None:
    """Set a channel's bit where the largest of 2x2 sums reaches its threshold."""
    for y in range(16):
        rows = sums[y * 68 : y * 68 + 68]
        for x in range(16):
            upper = largest(rows[2 * x], rows[2 * x + 1])
            lower = largest(rows[2 * x + 34], rows[2 * x + 35])
            reached = largest(upper, lower) >= limit
            words[16 * y + x] |= np.uint32(reached) << bit


@compiled
def convolve_image(
    scratch: Any, image: Any, planes: Any, codes: Any, limits: Any, sums: Any, words: Any
) -> None:
    """The first layer, 3 to 16 channels on 0..255, and its pool."""
    for y in range(32):
        for x in range(32):
            for colour in range(3):
                planes[colour, (y + 1) * 34 + x + 1] = image[y * 96 + 3 * x + colour]
    words[:] = 0
    for c in range(16):
        sums[:] = 0
        for colour in range(3):
            _colour(sums, planes[colour], codes[c, colour])
        _pooled(sums, limits[c], np.uint32(c), words)
    for y in range(16):
        for x in range(16):
            scratch[_CONV1 + (y + 1) * 18 + x + 1] = words[16 * y + x]
