"""Converts odd integer weight codes to bit planes and back.

A code of k bits is 2 q - (2^k - 1) with q = sum_j 2^j q_j, where q_j is a bit of plane j. So for
1-bit features x, with pop counting set bits::

    sum_i code_i x_i = sum_j 2^(j+1) pop(x & plane_j) - (2^k - 1) pop(x)

and for 2-bit codes 4 pop(x & p1) + 2 pop(x & p0) - 3 pop(x).
"""

import numpy as np
from numpy.typing import NDArray

from bitstill.topology import Layer

Bytes = NDArray[np.uint8]
Codes = NDArray[np.int16]


def pack_codes(codes: Codes, *, bits: int) -> Bytes:
    """Return the planes of a layer's codes.

    Args:
        codes: odd, from -(2^bits - 1) to 2^bits - 1, (channels_out, channels_in, 3, 3).
        bits: k.

    Returns:
        (k, size / 8), plane 0 first; a plane runs over output channel, row, column and input
        channel, the last one fastest, with eight bits in a byte, the first one lowest.
    """
    numbers = (codes.transpose(0, 2, 3, 1).astype(np.int64) + 2**bits - 1) // 2
    planes = [np.packbits((numbers >> j) & 1, axis=None, bitorder="little") for j in range(bits)]
    return np.stack(planes)


def plane_bits(planes: Bytes, layer: Layer) -> Bytes:
    """Return a layer's planes as (k, channels_out, 9, channels_in) of zeros and ones, uint8."""
    count = layer.channels_out * 9 * layer.channels_in
    bits = np.unpackbits(planes, axis=1, count=count, bitorder="little")
    return bits.reshape(len(planes), layer.channels_out, 9, layer.channels_in)


def unpack_codes(planes: Bytes, layer: Layer) -> Codes:
    """Return the codes, (channels_out, channels_in, 3, 3): the inverse of :func:`pack_codes`."""
    bits = plane_bits(planes, layer)
    numbers = sum(plane.astype(np.int16) << j for j, plane in enumerate(bits))
    codes = 2 * np.asarray(numbers, np.int16) - np.int16(2 ** len(planes) - 1)
    return codes.reshape(layer.channels_out, 3, 3, layer.channels_in).transpose(0, 3, 1, 2)
