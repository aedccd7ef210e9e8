"""A packed student as one self-contained file of C99: ``student.c`` and its numbers."""

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstill.engine.layout import LANES
from bitstill.engine.packed import PackedLayer, PackedModel, describe
from bitstill.engine.planes import plane_bits
from bitstill.topology import TOPOLOGY, Layer

Words = NDArray[np.uint32]
_PLACE = '#include "numbers.h"'  # the line of student.c that its numbers replace


def c_source(model: PackedModel) -> bytes:
    """Return the C file's content, for any bits; its logits are bit-identical to the engines'."""
    program = Path(__file__).with_name("student.c").read_text(encoding="utf-8")
    return program.replace(_PLACE, "\n".join(_numbers(model))).encode()


def _numbers(model: PackedModel) -> Iterable[str]:
    """Yield the definitions of the numbers that ``student.c`` uses, each with its comment."""
    first, *others = model.layers
    pairs, count = _pairs(first), _planes(model)
    rows = np.concatenate([_rows(*pair) for pair in zip(others, TOPOLOGY[1:], strict=True)])
    thresholds = np.concatenate([_thresholds(layer, count) for layer in others])
    classifier = np.column_stack([model.weight, model.bias])
    known = {name: one for name, one in describe(**model.known).items() if name != "classes"}
    # A packed file may come from anywhere, so its metadata must not be able to end the comment.
    yield f"/* {'; '.join(map(': '.join, known.items())).replace('*', ' ')} */"
    yield f"enum {{ WEIGHT_BITS = {model.weight_bits}, FEATURE_BITS = {model.activation_bits} }};"
    yield f"enum {{ PLANES = {count}, CLASSES = {len(classifier)} }};"
    yield "extern const char *const student_classes[CLASSES];"
    yield _array("const char *const student_classes", map(_literal, model.classes), "\n")
    yield "/* The first layer's weights: two bits, two output channels, row, column, colour. */"
    yield _array("static const uint32_t IMAGE_WEIGHTS", map(_word, pairs))
    yield "/* Its thresholds: output channel, level. */"
    yield _array("static const int32_t IMAGE_THRESHOLDS", map(str, first.thresholds.ravel()))
    yield "/* The others' weights: layer, row, word of output channels, bit. */"
    yield _array("static const uint32_t WEIGHTS", map(_word, rows))
    yield "/* Their thresholds: layer, word of output channels, level, plane. */"
    yield _array("static const uint32_t THRESHOLDS", map(_word, thresholds))
    yield "/* The last layer's: class, feature, and the bias behind them. */"
    floats = (f"{float(one).hex()}f" for one in classifier.ravel())
    yield _array("static const float CLASSIFIER", floats)


def _pairs(packed: PackedLayer) -> Words:
    """Return conv1's weights, two bits of two channels per word; no sum outgrows its half word."""
    bits = plane_bits(packed.planes, TOPOLOGY[0]).reshape(-1, 8, 2, 27).astype(np.uint32)
    twos = np.pad(bits, ((0, len(bits) % 2), (0, 0), (0, 0), (0, 0))).reshape(-1, 2, 8, 2, 27)
    halves = twos[:, 0] + 2 * twos[:, 1]
    return (halves[:, :, 0] + (halves[:, :, 1] << 16)).ravel()


def _planes(model: PackedModel) -> int:
    """Return how many bits hold any sum, with its sign, in the layers after the first."""
    inputs = 9 * max(layer.channels_in for layer in TOPOLOGY)
    largest: int = inputs * (2**model.weight_bits - 1) * (2**model.activation_bits - 1)
    return largest.bit_length() + 1


def _rows(packed: PackedLayer, layer: Layer) -> Words:
    """Return a layer's weights: a row of zeros, then one per row, column and input channel."""
    bits = plane_bits(packed.planes, layer)  # (k, channels_out, 9, channels_in)
    words = _words(bits.transpose(2, 3, 0, 1).reshape(9 * layer.channels_in, len(bits), -1, LANES))
    return np.pad(words.transpose(0, 2, 1), ((1, 0), (0, 0), (0, 0))).ravel()


def _thresholds(packed: PackedLayer, planes: int) -> Words:
    """Return a layer's thresholds plus 2^(planes - 1), the offset that sums have in student.c."""
    half = 2 ** (planes - 1)  # above every sum
    raised = packed.thresholds.clip(-half, half - 1) + half
    bits = raised.reshape(-1, LANES, raised.shape[1])[..., None] >> np.arange(planes) & 1
    return _words(bits.transpose(0, 2, 3, 1)).ravel()


def _words(bits: NDArray[Any]) -> Words:
    """Pack zeros and ones of 32 channels, (..., 32), into words, (...)."""
    packed = np.packbits(np.ascontiguousarray(bits, bool), axis=-1, bitorder="little")
    return packed.view("<u4")[..., 0]


def _array(name: str, values: Iterable[str], between: str = " ") -> str:
    """Return the definition of an array; the C compiler counts its values."""
    text = f",{between}".join(values)
    lines = text if between == "\n" else textwrap.fill(text, 100, break_on_hyphens=False)
    return f"{name}[] = {{\n{lines}\n}};"


def _word(word: np.uint32) -> str:
    return f"{word:#x}u"


def _literal(text: str) -> str:
    """Return a text as a C string in UTF-8, with special bytes as numbers."""
    plain = re.sub(rb"[^0-9A-Za-z ]", lambda found: b"\\%03o" % ord(found[0]), text.encode())
    return f'"{plain.decode()}"'
