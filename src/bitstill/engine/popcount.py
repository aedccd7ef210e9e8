"""The engine in numba: popcounts over 32 channels at a time, word counts unrolled.

LLVM turns a loop over 32 lanes with a constant number of words into vector instructions, popcounts
included where the processor has them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstill.engine.compiled import compiled
from bitstill.engine.first_layer import convolve_image
from bitstill.engine.lanes import bit, count, plus_pair
from bitstill.engine.layout import OFFSETS, SCRATCH_WORDS, Layout, feature_bits
from bitstill.engine.planes import Bytes

_CONV1, _CONV21, _CONV22, _CONV31, _CONV32, _CONV41, _CONV42 = OFFSETS


@compiled
def _nine(sums: Any, patches: Any, first: Any, length: Any, w: Any) -> None:
    """Add nine words of each of 16 patches to the sums of 32 channels."""
    for pixel in range(16):
        at, to = first + pixel * length, pixel * 32
        x0, x1, x2 = patches[at], patches[at + 1], patches[at + 2]
        x3, x4, x5 = patches[at + 3], patches[at + 4], patches[at + 5]
        x6, x7, x8 = patches[at + 6], patches[at + 7], patches[at + 8]
        for c in range(32):
            s = sums[to + c]
            s = plus_pair(s, x0, w[c], w[c + 32])
            s = plus_pair(s, x1, w[c + 64], w[c + 96])
            s = plus_pair(s, x2, w[c + 128], w[c + 160])
            s = plus_pair(s, x3, w[c + 192], w[c + 224])
            s = plus_pair(s, x4, w[c + 256], w[c + 288])
            s = plus_pair(s, x5, w[c + 320], w[c + 352])
            s = plus_pair(s, x6, w[c + 384], w[c + 416])
            s = plus_pair(s, x7, w[c + 448], w[c + 480])
            sums[to + c] = plus_pair(s, x8, w[c + 512], w[c + 544])


@compiled
def _five(sums: Any, patches: Any, first: Any, w: Any) -> None:
    """Add the five words of each of 16 patches of 16 channels."""
    for pixel in range(16):
        at, to = first + pixel * 5, pixel * 32
        x0, x1, x2 = patches[at], patches[at + 1], patches[at + 2]
        x3, x4 = patches[at + 3], patches[at + 4]
        for c in range(32):
            s = sums[to + c]
            s = plus_pair(s, x0, w[c], w[c + 32])
            s = plus_pair(s, x1, w[c + 64], w[c + 96])
            s = plus_pair(s, x2, w[c + 128], w[c + 160])
            s = plus_pair(s, x3, w[c + 192], w[c + 224])
            sums[to + c] = plus_pair(s, x4, w[c + 256], w[c + 288])


@compiled
def _reach(sums: Any, counts: Any, limits: Any, bits: Any) -> None:
    """Compare the sums of 16 pixels with 32 thresholds: a word of bits each."""
    for pixel in range(16):
        three, word = np.int32(3) * counts[pixel], np.uint32(0)
        for c in range(32):
            word |= bit(sums[32 * pixel + c], three, limits[c], np.uint32(c))
        bits[pixel] = word


@compiled
def _gather(scratch: Any, source: Any, side: Any, depth: Any, patches: Any, counts: Any) -> None:
    """Write each pixel's patch of 9 * depth words, and its number of set bits."""
    length, step = 9 * depth, (side + 2) * depth
    for y in range(side):
        for x in range(side):
            start = source + (y * (side + 2) + x) * depth
            patch = patches[(y * side + x) * length : (y * side + x + 1) * length]
            total = np.int32(0)
            for ky in range(3):
                for i in range(depth):
                    at, word = 3 * (ky * depth + i), start + ky * step + 3 * i
                    a, b, c = scratch[word], scratch[word + 1], scratch[word + 2]
                    patch[at], patch[at + 1], patch[at + 2] = a, b, c
                    total += count(a) + count(b) + count(c)
            counts[y * side + x] = total


@compiled
def _gather_half(scratch: Any, source: Any, side: Any, patches: Any, counts: Any) -> None:
    """The same for 16 channels: two neighbours a word."""
    half = np.uint32(16)
    at = 0
    for y in range(side):
        for x in range(side):
            a = source + y * (side + 2) + x
            b = a + side + 2
            c = b + side + 2
            patches[at] = scratch[a] | (scratch[a + 1] << half)
            patches[at + 1] = scratch[a + 2] | (scratch[b] << half)
            patches[at + 2] = scratch[b + 1] | (scratch[b + 2] << half)
            patches[at + 3] = scratch[c] | (scratch[c + 1] << half)
            patches[at + 4] = scratch[c + 2]
            total = np.int32(0)
            for i in range(5):
                total += count(patches[at + i])
            counts[y * side + x] = total
            at += 5


@compiled
def _binary(
    scratch: Any, source: Any, target: Any, shape: Any, words: Any, thresholds: Any, room: Any
) -> None:
    """One convolution of bits: 4 pop(x & p1) + 2 pop(x & p0) - 3 pop(x) >= threshold.

    ``shape`` is side, words of a pixel (0 for 16 channels), blocks of 32 channels, and whether
    pixels are pooled: or-ed together. ``words`` and ``thresholds`` begin with the layer's, ``room``
    is for patches, counts, sums and bits.
    """
    side, depth, blocks, pool = shape
    patches, counts, sums, bits = room
    if depth == 0:
        _gather_half(scratch, source, side, patches, counts)
    else:
        _gather(scratch, source, side, depth, patches, counts)
    length = 5 if depth == 0 else 9 * depth
    width = side // (2 if pool else 1) + 2
    shift = 1 if pool else 0
    for block in range(blocks):
        limits = thresholds[32 * block : 32 * block + 32]
        begin = block * length * 64
        for first in range(0, side * side, 16):
            sums[:] = 0
            if depth == 0:
                _five(sums, patches, first * 5, words[begin : begin + 320])
            for group in range(depth):
                weights = words[begin + 576 * group : begin + 576 * group + 576]
                _nine(sums, patches, first * length + 9 * group, length, weights)
            _reach(sums, counts[first : first + 16], limits, bits)
            for pixel in range(16):
                y, x = ((first + pixel) // side) >> shift, ((first + pixel) % side) >> shift
                scratch[target + ((y + 1) * width + x + 1) * blocks + block] |= bits[pixel]


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
    words: Any,
    thresholds: Any,
    classifier: Any,
    bias: Any,
    logits: Any,
    scratch: Any,
) -> None:
    """Fill logits (N, classes) for images (N, 3072); the scratch keeps the last image's bits."""
    planes, shorts = np.zeros((3, 34 * 34 + 2), np.int16), np.zeros(32 * 34, np.int16)
    pooled = np.zeros(256, np.uint32)
    patches, counts = np.zeros(256 * 9, np.uint32), np.zeros(256, np.int32)
    sums, bits = np.zeros(16 * 32, np.int32), np.zeros(16, np.uint32)
    room = patches, counts, sums, bits
    for n in range(len(images)):
        scratch[:] = 0
        convolve_image(scratch, images[n], planes, codes, first_limits, shorts, pooled)
        # Call by call, not by table: with constants LLVM makes it a tenth faster.
        w, t = words, thresholds
        _binary(scratch, _CONV1, _CONV21, (16, 0, 1, False), w, t, room)
        _binary(scratch, _CONV21, _CONV22, (16, 1, 1, True), w[320:], t[32:], room)
        _binary(scratch, _CONV22, _CONV31, (8, 1, 2, False), w[896:], t[64:], room)
        _binary(scratch, _CONV31, _CONV32, (8, 2, 2, True), w[2048:], t[128:], room)
        _binary(scratch, _CONV32, _CONV41, (4, 2, 4, False), w[4352:], t[192:], room)
        _binary(scratch, _CONV41, _CONV42, (4, 4, 4, False), w[8960:], t[320:], room)
        _classify(scratch, classifier, bias, logits[n])


class Popcount:
    """Runs a layout in numba.

    Args:
        layout: of the model.
    """

    name = "numba"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        rows = layout.first[:, :, :9].reshape(16, 3, 3, 3)  # channel, row, pixel, colour
        self._codes = np.ascontiguousarray(rows.transpose(0, 3, 1, 2).reshape(16, 3, 9), np.int16)

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
            one.words,
            one.thresholds,
            one.classifier,
            one.bias,
            logits,
            scratch,
        )

    def levels(self, image: Bytes) -> list[Bytes]:
        """Return every layer's bits, (side, side, channels), for an image (3072,)."""
        return feature_bits(self.run, image, len(self._layout.bias))
