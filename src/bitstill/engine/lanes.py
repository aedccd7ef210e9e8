"""The innermost steps of the numba engine, written in LLVM's terms.

Numba's own integers would widen to 64 bits on the way, and a vector would hold half or a quarter as
many of them.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing import signature
from numba.extending import intrinsic


@intrinsic
def plus_pair(_: Any, total: Any, x: Any, high: Any, low: Any) -> Any:
    """Total + 2 pop(x & high) + pop(x & low), in 32 bits."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        total, x, high, low = values
        two = builder.shl(builder.ctpop(builder.and_(x, high)), ir.Constant(x.type, 1))
        return builder.add(total, builder.add(two, builder.ctpop(builder.and_(x, low))))

    word = types.uint32
    return signature(types.int32, types.int32, word, word, word), generate


@intrinsic
def plus_product(_: Any, total: Any, pixel: Any, code: Any) -> Any:
    """Total + pixel * code, in 16 bits."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        total, pixel, code = values
        return builder.add(total, builder.mul(pixel, code))

    short = types.int16
    return signature(short, short, short, short), generate


@intrinsic
def count(_: Any, x: Any) -> Any:
    """pop(x), in 32 bits."""
    return signature(types.int32, types.uint32), lambda _, builder, __, values: builder.ctpop(
        values[0]
    )


@intrinsic
def bit(_: Any, half: Any, three: Any, limit: Any, position: Any) -> Any:
    """(2 half - three >= limit) << position."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        half, three, limit, position = values
        total = builder.sub(builder.shl(half, ir.Constant(half.type, 1)), three)
        reached = builder.icmp_signed(">=", total, limit)
        return builder.shl(builder.zext(reached, position.type), position)

    number = types.int32
    return signature(types.uint32, number, number, number, types.uint32), generate


@intrinsic
def largest(_: Any, a: Any, b: Any) -> Any:
    """The larger one, in 16 bits."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        return builder.select(builder.icmp_signed(">", *values), *values)

    return signature(types.int16, types.int16, types.int16), generate
