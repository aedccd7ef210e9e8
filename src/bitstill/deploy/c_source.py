"""A packed student as one file of C99 that needs nothing else: ``student.c`` and its numbers."""

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bitstill.engine.layout import LANES
from bitstill.engine.packed import PackedLayer, PackedModel, describe
from bitstill.engine.planes import plane_bits, unpack_codes
from bitstill.topology import TOPOLOGY, Layer

_PLACE = '#include "numbers.h"'  # in student.c, where its numbers go


def c_source(model: PackedModel) -> bytes:
    """Return the file's content, for any bits; its logits are every engine's, bit for bit."""
    program = Path(__file__).with_name("student.c").read_text(encoding="utf-8")
    return program.replace(_PLACE, "\n".join(_numbers(model))).encode()


def _numbers(model: PackedModel) -> Iterable[str]:
    """Yield what ``student.c`` calls its numbers, each with its comment."""
    first, *others = model.layers
    codes = unpack_codes(first.planes, TOPOLOGY[0]).transpose(0, 2, 3, 1)
    words = np.concatenate([_words(*pair) for pair in zip(others, TOPOLOGY[1:], strict=True)])
    thresholds = np.concatenate([packed.thresholds.ravel() for packed in model.layers])
    classifier = np.column_stack([model.weight, model.bias])
    known = {name: one for name, one in describe(**model.known).items() if name != "classes"}
    # A packed file may come from anywhere, and so what it says of itself.
    yield f"/* {'; '.join(map(': '.join, known.items())).replace('*', ' ')} */"
    yield f"enum {{ WEIGHT_BITS = {model.weight_bits}, FEATURE_BITS = {model.activation_bits} }};"
    yield f"enum {{ CLASSES = {len(classifier)} }};"
    yield "extern const char *const student_classes[CLASSES];"
    yield _array("const char *const student_classes[CLASSES]", map(_literal, model.classes), "\n")
    yield "/* The first layer's weights: output channel, row, column, colour. */"
    yield _array("static const int16_t IMAGE_CODES[16 * 27]", map(str, codes.ravel()))
    yield "/* The others': layer, output channel, row, column, word of input channels, bit. */"
    yield _array(f"static const uint32_t WEIGHTS[{len(words)}]", (f"{one:#x}u" for one in words))
    yield "/* Of all layers: output channel, level. */"
    yield _array(f"static const int32_t THRESHOLDS[{len(thresholds)}]", map(str, thresholds))
    yield "/* The last layer's: class, feature, and the bias behind them. */"
    floats = (f"{float(one).hex()}f" for one in classifier.ravel())
    yield _array("static const float CLASSIFIER[CLASSES * 129]", floats)


def _words(packed: PackedLayer, layer: Layer) -> NDArray[np.uint32]:
    """Return a layer's weights as words of input channels."""
    bits = plane_bits(packed.planes, layer)  # (k, channels_out, 9, channels_in)
    padded = np.pad(bits, ((0, 0), (0, 0), (0, 0), (0, -layer.channels_in % LANES)))
    words = np.packbits(padded, axis=-1, bitorder="little").view("<u4")
    return words.transpose(1, 2, 3, 0).ravel()


def _array(name: str, values: Iterable[str], between: str = " ") -> str:
    text = f",{between}".join(values)
    lines = text if between == "\n" else textwrap.fill(text, 100, break_on_hyphens=False)
    return f"{name} = {{\n{lines}\n}};"


def _literal(text: str) -> str:
    """Return a text as C has it, in UTF-8, and as a number each byte that may mean something."""
    plain = re.sub(rb"[^0-9A-Za-z ]", lambda found: b"\\%03o" % ord(found[0]), text.encode())
    return f'"{plain.decode()}"'
