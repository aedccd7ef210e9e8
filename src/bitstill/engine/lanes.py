"""The innermost steps of the numba engine in LLVM's terms: vectors of channels.

Numba would widen its own integers to 64 bits along the way, so that a vector would hold an eighth
as many.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing import signature
from numba.extending import intrinsic

ENTRIES, PIECE, MIDDLE = 16, 6, 128
IMAGE_LINE = 34 * 3  # levels in a line, including the border's
_number, _short = cgutils.intp_t, ir.IntType(16)


@intrinsic
def image_bits(_: Any, levels: Any, codes: Any, limits: Any) -> Any:
    """Return a word that says which of 16 channels' largest sums of 2x2 pixels reach their limits.

    ``levels`` begin with the upper left pixel's patch; codes are (27 inputs, 16 channels). All
    numbers have 16 bits, since no sum exceeds 27 * 255 * 3.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        image, weights, least = _data(context, builder, signature, values)
        sums = ir.VectorType(_short, 16)
        totals = [ir.Constant(sums, None)] * 4
        for row in range(4):
            for i in range(12):
                level = builder.load(_at(builder, image, row * IMAGE_LINE + i))
                lanes = _everywhere(builder, level, sums)
                for pixel in range(4):
                    tap_row, input_ = row - pixel // 2, i - pixel % 2 * 3
                    if 0 <= tap_row < 3 and 0 <= input_ < 9:
                        place = _at(builder, weights, (9 * tap_row + input_) * 16)
                        product = builder.mul(lanes, _load(builder, place, sums))
                        totals[pixel] = builder.add(totals[pixel], product)
        best = totals[0]
        for total in totals[1:]:
            best = builder.select(builder.icmp_signed(">", total, best), total, best)
        found = builder.icmp_signed(">=", best, _load(builder, least, sums))
        return builder.zext(builder.bitcast(found, ir.IntType(16)), ir.IntType(32))

    return signature(types.uint32, levels, codes, limits), generate


@intrinsic(prefer_literal=True)
def reached(_: Any, lanes: Any, table: Any, rows: Any, line: Any, length: Any, limits: Any) -> Any:
    """Return a word that says which of 32 or 64 channels' sums at a pixel reach their limits.

    Three lines of ``length`` numbers say where in its table each quad's row lies; each line begins
    ``line`` numbers after the one before. The sum of PIECE rows fits in bytes that start at MIDDLE,
    since every entry is between -12 and 12.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _, entries, places, _, _, least = _data(context, builder, signature, values)
        _, _, _, line, length, _ = values
        sums, row_type = ir.VectorType(_short, width), ir.VectorType(ir.IntType(8), width)
        sum_ = cgutils.alloca_once_value(builder, ir.Constant(sums, None))
        table_at = cgutils.alloca_once_value(builder, _number(0))
        pieces = builder.udiv(length, _number(PIECE))
        with (
            cgutils.for_range(builder, _number(3)) as tap_row,
            cgutils.for_range(builder, pieces) as piece,
        ):
            start = builder.mul(piece.index, _number(PIECE))
            start = builder.add(start, builder.mul(tap_row.index, line))
            first, total = builder.load(table_at), ir.Constant(row_type, [MIDDLE] * width)
            for quad in range(PIECE):
                place = builder.load(_at(builder, places, builder.add(start, _number(quad))))
                row = builder.add(first, _number(quad * ENTRIES * width))
                row = builder.add(row, builder.zext(place, _number))
                total = builder.add(total, _load(builder, _at(builder, entries, row), row_type))
            builder.store(builder.add(first, _number(PIECE * ENTRIES * width)), table_at)
            builder.store(builder.add(builder.load(sum_), builder.zext(total, sums)), sum_)
        begun = builder.trunc(builder.mul(pieces, _number(3 * MIDDLE)), _short)
        total = builder.sub(builder.load(sum_), _everywhere(builder, begun, sums))
        found = builder.icmp_signed(">=", total, _load(builder, least, sums))
        word = builder.bitcast(found, ir.IntType(width))
        return word if width == 64 else builder.zext(word, ir.IntType(64))

    width, number = lanes.literal_value, types.intp
    taken = (lanes, table, rows, number, number, limits)
    return signature(types.uint64, *taken), generate


def _data(context: Any, builder: Any, signature: Any, values: Any) -> list[Any]:
    """Return pointers to the data of those arguments that are arrays."""
    return [
        context.make_array(kind)(context, builder, value).data
        if isinstance(kind, types.Array)
        else None
        for kind, value in zip(signature.args, values, strict=True)
    ]


def _at(builder: Any, data: Any, index: Any) -> Any:
    return builder.gep(data, [_number(index) if isinstance(index, int) else index])


def _load(builder: Any, pointer: Any, vector: Any) -> Any:
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=1)


def _everywhere(builder: Any, value: Any, vector: Any) -> Any:
    """Return a vector with one number in every lane."""
    none = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(none, value, ir.IntType(32)(0))
    first = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(one, none, first)
