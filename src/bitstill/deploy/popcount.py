"""The engine in numba: popcounts over 32 channels at a time, word counts unrolled.

LLVM turns a loop over 32 lanes with a constant number of words into vector instructions, popcounts
included where the processor has them. Numba's own integers would widen to 64 bits on the way, so
the two inner steps are written in LLVM's terms.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.typing import signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from bitstill.deploy.layout import OFFSETS, SCRATCH_WORDS, Layout

_CONV1, _CONV21, _CONV22, _CONV31, _CONV32, _CONV41, _CONV42 = OFFSETS


@intrinsic  # type: ignore[untyped-decorator]
def _plus_pair(_: Any, total: Any, x: Any, high: Any, low: Any) -> Any:
    """total + 2 pop(x & high) + pop(x & low), in 32 bits."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        total, x, high, low = values
        two = builder.shl(builder.ctpop(builder.and_(x, high)), ir.Constant(x.type, 1))
        return builder.add(total, builder.add(two, builder.ctpop(builder.and_(x, low))))

    word = types.uint32
    return signature(types.int32, types.int32, word, word, word), generate


@intrinsic  # type: ignore[untyped-decorator]
def _plus_product(_: Any, total: Any, pixel: Any, code: Any) -> Any:
    """total + pixel * code, in 16 bits."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        total, pixel, code = values
        return builder.add(total, builder.mul(pixel, code))

    short = types.int16
    return signature(short, short, short, short), generate


@intrinsic  # type: ignore[untyped-decorator]
def _count(_: Any, x: Any) -> Any:
    """pop(x), in 32 bits."""
    return signature(types.int32, types.uint32), lambda _, builder, __, values: builder.ctpop(
        values[0]
    )


@njit(nogil=True, cache=True)
def _nine(sums: Any, patches: Any, at: Any, words: Any, start: Any) -> None:
    """Add nine words of a patch to the sums of 32 channels."""
    x0, x1, x2 = patches[at], patches[at + 1], patches[at + 2]
    x3, x4, x5 = patches[at + 3], patches[at + 4], patches[at + 5]
    x6, x7, x8 = patches[at + 6], patches[at + 7], patches[at + 8]
    w = words[start : start + 576]
    for c in range(32):
        s = sums[c]
        s = _plus_pair(s, x0, w[c], w[c + 32])
        s = _plus_pair(s, x1, w[c + 64], w[c + 96])
        s = _plus_pair(s, x2, w[c + 128], w[c + 160])
        s = _plus_pair(s, x3, w[c + 192], w[c + 224])
        s = _plus_pair(s, x4, w[c + 256], w[c + 288])
        s = _plus_pair(s, x5, w[c + 320], w[c + 352])
        s = _plus_pair(s, x6, w[c + 384], w[c + 416])
        s = _plus_pair(s, x7, w[c + 448], w[c + 480])
        s = _plus_pair(s, x8, w[c + 512], w[c + 544])
        sums[c] = s


@njit(nogil=True, cache=True)
def _five(sums: Any, patches: Any, at: Any, words: Any, start: Any) -> None:
    """Add the five words of a patch of 16 channels."""
    x0, x1, x2 = patches[at], patches[at + 1], patches[at + 2]
    x3, x4 = patches[at + 3], patches[at + 4]
    w = words[start : start + 320]
    for c in range(32):
        s = sums[c]
        s = _plus_pair(s, x0, w[c], w[c + 32])
        s = _plus_pair(s, x1, w[c + 64], w[c + 96])
        s = _plus_pair(s, x2, w[c + 128], w[c + 160])
        s = _plus_pair(s, x3, w[c + 192], w[c + 224])
        s = _plus_pair(s, x4, w[c + 256], w[c + 288])
        sums[c] = s


@njit(nogil=True, cache=True)
def _gather(scratch: Any, source: Any, side: Any, depth: Any, patches: Any, counts: Any) -> None:
    """Write each pixel's patch of 9 * depth words, and its number of set bits."""
    row, at = 3 * depth, 0
    for y in range(side):
        for x in range(side):
            count = np.int32(0)
            for ky in range(3):
                start = source + ((y + ky) * (side + 2) + x) * depth
                for i in range(row):
                    word = scratch[start + i]
                    patches[at] = word
                    count += _count(word)
                    at += 1
            counts[y * side + x] = count


@njit(nogil=True, cache=True)
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
            count = np.int32(0)
            for i in range(5):
                count += _count(patches[at + i])
            counts[y * side + x] = count
            at += 5


@njit(nogil=True, cache=True)
def _binary(
    scratch: Any,
    source: Any,
    target: Any,
    side: Any,
    depth: Any,
    blocks: Any,
    pool: Any,
    words: Any,
    start: Any,
    thresholds: Any,
    patches: Any,
    counts: Any,
    sums: Any,
) -> None:
    """One convolution of bits: 4 pop(x & p1) + 2 pop(x & p0) - 3 pop(x) >= threshold.

    ``depth`` is the words of a pixel, 0 for 16 channels. Pooled pixels are or-ed together.
    """
    if depth == 0:
        _gather_half(scratch, source, side, patches, counts)
    else:
        _gather(scratch, source, side, depth, patches, counts)
    length = 5 if depth == 0 else 9 * depth
    width = side // (2 if pool else 1) + 2
    shift = 1 if pool else 0
    for block in range(blocks):
        limits = thresholds[32 * block : 32 * block + 32]
        begin = start + block * length * 64
        for pixel in range(side * side):
            for c in range(32):
                sums[c] = 0
            if depth == 0:
                _five(sums, patches, pixel * 5, words, begin)
            else:
                for group in range(depth):
                    at = pixel * length + 9 * group
                    _nine(sums, patches, at, words, begin + 576 * group)
            three = np.int32(3 * counts[pixel])
            bits = np.uint32(0)
            for c in range(32):
                reached = np.int32(2 * sums[c] - three) >= limits[c]
                bits |= np.uint32(reached) << np.uint32(c)
            y, x = (pixel // side) >> shift, (pixel % side) >> shift
            scratch[target + ((y + 1) * width + x + 1) * blocks + block] |= bits


@njit(nogil=True, cache=True)
def _bytes(
    scratch: Any, image: Any, padded: Any, codes: Any, limits: Any, sums: Any, best: Any
) -> None:
    """The first layer, 3 to 16 channels on 0..255, and its pool: the largest sum decides."""
    for y in range(32):
        for i in range(96):
            padded[(y + 1) * 102 + 3 + i] = image[y * 96 + i]
    for y in range(16):
        for x in range(16):
            for c in range(16):
                best[c] = -32768
            for corner in range(4):
                at = (2 * y + corner // 2) * 102 + (2 * x + corner % 2) * 3
                for c in range(16):
                    sums[c] = 0
                for ky in range(3):
                    _nine_bytes(sums, padded, at + ky * 102, codes, ky * 144)
                for c in range(16):
                    best[c] = max(best[c], sums[c])
            bits = np.uint32(0)
            for c in range(16):
                bits |= np.uint32(best[c] >= limits[c]) << np.uint32(c)
            scratch[_CONV1 + (y + 1) * 18 + x + 1] = bits


@njit(nogil=True, cache=True)
def _nine_bytes(sums: Any, padded: Any, at: Any, codes: Any, start: Any) -> None:
    """Add one row of three pixels to the sums of 16 channels."""
    p0, p1, p2 = padded[at], padded[at + 1], padded[at + 2]
    p3, p4, p5 = padded[at + 3], padded[at + 4], padded[at + 5]
    p6, p7, p8 = padded[at + 6], padded[at + 7], padded[at + 8]
    w = codes[start : start + 144]
    for c in range(16):
        s = _plus_product(sums[c], p0, w[c])
        s = _plus_product(s, p1, w[c + 16])
        s = _plus_product(s, p2, w[c + 32])
        s = _plus_product(s, p3, w[c + 48])
        s = _plus_product(s, p4, w[c + 64])
        s = _plus_product(s, p5, w[c + 80])
        s = _plus_product(s, p6, w[c + 96])
        s = _plus_product(s, p7, w[c + 112])
        sums[c] = _plus_product(s, p8, w[c + 128])


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
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
    padded = np.zeros(34 * 102, np.int16)
    best, shorts = np.zeros(16, np.int16), np.zeros(16, np.int16)
    patches, counts = np.zeros(256 * 9, np.uint32), np.zeros(256, np.int32)
    sums = np.zeros(32, np.int32)
    for n in range(len(images)):
        scratch[:] = 0
        _bytes(scratch, images[n], padded, codes, first_limits, shorts, best)
        t = thresholds
        _binary(scratch, _CONV1, _CONV21, 16, 0, 1, False, words, 0, t, patches, counts, sums)
        t = thresholds[32:]
        _binary(scratch, _CONV21, _CONV22, 16, 1, 1, True, words, 320, t, patches, counts, sums)
        t = thresholds[64:]
        _binary(scratch, _CONV22, _CONV31, 8, 1, 2, False, words, 896, t, patches, counts, sums)
        t = thresholds[128:]
        _binary(scratch, _CONV31, _CONV32, 8, 2, 2, True, words, 2048, t, patches, counts, sums)
        t = thresholds[192:]
        _binary(scratch, _CONV32, _CONV41, 4, 2, 4, False, words, 4352, t, patches, counts, sums)
        t = thresholds[320:]
        _binary(scratch, _CONV41, _CONV42, 4, 4, 4, False, words, 8960, t, patches, counts, sums)
        _classify(scratch, classifier, bias, logits[n])


class Popcount:
    """Runs a layout in numba.

    Args:
        layout: of the model.
    """

    name = "numba"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        rows = layout.first[:, :, :9].transpose(1, 2, 0)  # row, pixel and colour, channel
        self._codes = np.ascontiguousarray(rows).astype(np.int16).ravel()

    def run(
        self,
        images: NDArray[np.uint8],
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
