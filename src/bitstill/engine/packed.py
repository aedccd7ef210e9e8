"""The packed file: a safetensors container that holds a student in a fifteenth of its size.

Tensors: ``conv1.planes`` and so on, uint8, (weight bits, bytes); ``thresholds``, int16 or int32,
(channels of all layers, levels); ``classifier``, float32, (classes, 128 weights and the bias).
They are so few because each further tensor would cost 70 bytes of header. Metadata: format,
version, classes, preprocessing, the run's identity, its test accuracy and selection, and
``checksum``: the SHA-256 of the whole file with the checksum itself written as zeros, which reveals
a single changed byte. The same model gives the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstill.engine.planes import Bytes
from bitstill.errors import UserError, one_line
from bitstill.topology import FEATURES, MAX_BITS, MAX_CLASSES, TOPOLOGY

FORMAT = "bitstill-packed"
VERSION = "1"
PREPROCESSING = "uint8 NHWC 32x32 RGB 0..255"
MAX_BYTES = 8 * 2**20  # enough for 8 bits, 255 levels and MAX_CLASSES classes
_NO_CHECKSUM = b"0" * 64
_CHECKSUM = re.compile(rb'"checksum":"([0-9a-f]{64})"')
_DTYPES = {"uint8": "U8", "int16": "I16", "int32": "I32", "float32": "F32"}
_WANTED = ("classes", "identity", "test_accuracy", "selection")
_LIMIT = 2**27  # above every sum of 8-bit codes and features


@dataclass(frozen=True, eq=False)
class PackedLayer:
    """One convolution.

    Attributes:
        planes: bit planes of the weight codes, uint8, (k, bytes); see
            :mod:`bitstill.engine.planes`.
        thresholds: int32, (channels_out, 2^a - 1), none below the one before.
    """

    planes: Bytes
    thresholds: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class PackedModel:
    """A deployed student.

    Attributes:
        layers: one for each layer of the topology.
        weight: the last layer's, float32, (classes, 128).
        bias: the last layer's, float32, (classes,).
        activation_bits: a, the bits of a feature.
        classes: their names.
        identity: the run's identity.
        test_accuracy: what the run recorded for these weights and statistics, or None.
        selection: which epoch's weights these are, and with which batch norm statistics.
    """

    layers: tuple[PackedLayer, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation_bits: int
    classes: tuple[str, ...]
    identity: str = ""
    test_accuracy: float | None = None
    selection: str = ""

    @property
    def weight_bits(self) -> int:
        """Bits of a weight, k."""
        return len(self.layers[0].planes)

    @property
    def known(self) -> dict[str, Any]:
        """The model's metadata, for :func:`describe`."""
        return {name: getattr(self, name) for name in _WANTED}


def to_bytes(model: PackedModel) -> bytes:
    """Return the file's content."""
    thresholds = np.concatenate([layer.thresholds for layer in model.layers])
    if np.abs(thresholds).max() < 2**15:
        thresholds = thresholds.astype(np.int16)
    tensors: dict[str, NDArray[Any]] = {
        "classifier": np.column_stack([model.weight, model.bias]),
        "thresholds": thresholds,
    }
    for layer, packed in zip(TOPOLOGY, model.layers, strict=True):
        tensors[f"{layer.name}.planes"] = packed.planes
    known = describe(**model.known)
    metadata = {"format": FORMAT, "version": VERSION, **known, "checksum": _NO_CHECKSUM.decode()}
    blank = _container(tensors, metadata)
    checksum = hashlib.sha256(blank).hexdigest().encode()
    return blank.replace(b'"checksum":"' + _NO_CHECKSUM, b'"checksum":"' + checksum, 1)


def describe(
    *, classes: Sequence[str], identity: str, test_accuracy: float | None, selection: str
) -> dict[str, str]:
    """Return the metadata of a deployed file of any format; see :class:`PackedModel`."""
    return {
        "classes": "\n".join(classes),
        "preprocessing": PREPROCESSING,
        "identity": identity,
        "test_accuracy": "" if test_accuracy is None else repr(float(test_accuracy)),
        "selection": selection,
    }


def _container(tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> bytes:
    """Return a safetensors file; the writer in safetensors itself orders metadata at random."""
    header: dict[str, Any] = {"__metadata__": metadata}
    data = b""
    for name, one in tensors.items():
        begin, data = len(data), data + one.astype(one.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": _DTYPES[one.dtype.name],
            "shape": one.shape,
            "data_offsets": [begin, len(data)],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def read_packed(path: str | Path) -> PackedModel:
    """Read a packed file.

    Raises:
        UserError: the file is missing, foreign, damaged, altered, or of another version.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # reading a pipe may never end
            raise UserError(f"{path} is not a file: give a packed file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: not a possible file name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path} cannot be read ({reason}): give a packed file") from error
    try:
        return from_bytes(content)
    except ValueError as error:
        raise UserError(
            f"{path} is not a valid packed model ({error}): export it again with "
            "`bitstill export RUN --format packed`"
        ) from error


def from_bytes(content: bytes) -> PackedModel:
    """Return the model of a file's content.

    Raises:
        ValueError: it is not exactly what :func:`to_bytes` writes.
    """
    metadata = _metadata(content)
    tensors = _tensors(content)
    thresholds = _thresholds(tensors)
    classifier = _taken(tensors, "classifier", ("float32",), (None, FEATURES + 1))
    classes = tuple(metadata["classes"].split("\n"))
    if not len(classifier) == len(classes) <= MAX_CLASSES:
        raise ValueError(f"it names {len(classes)} classes and has {len(classifier)}")
    if not all(name.isprintable() for name in classes):
        raise ValueError("its classes have names that cannot be printed")
    largest = np.abs(classifier.astype(np.float64)).sum(axis=1)  # bounds the logits
    if not (largest <= np.finfo(np.float32).max).all():
        raise ValueError("its last layer is not finite")
    model = PackedModel(
        layers=_layers(tensors, thresholds),
        weight=np.ascontiguousarray(classifier[:, :-1]),
        bias=np.ascontiguousarray(classifier[:, -1]),
        activation_bits=thresholds.shape[1].bit_length(),
        classes=classes,
        identity=metadata["identity"],
        test_accuracy=_accuracy(metadata["test_accuracy"]),
        selection=metadata["selection"],
    )
    if tensors:
        raise ValueError(f"it holds {next(iter(tensors))[:40]!r} too")
    return model


def _accuracy(text: str) -> float | None:
    if not text:
        return None
    accuracy = float(text)
    if not 0 <= accuracy <= 1:
        raise ValueError(f"its test accuracy is {accuracy}")
    return accuracy


def _metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a file after checking its format, version and checksum."""
    size = int.from_bytes(content[:8], "little")
    if content[8:9] != b"{" or size > len(content) - 8:
        raise ValueError("it is truncated, or another kind of file")
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    header = content[8 : 8 + size]
    if f'"format":"{FORMAT}"'.encode() not in header:
        raise ValueError("another program wrote it")
    if f'"version":"{VERSION}"'.encode() not in header:
        raise ValueError(f"this bitstill reads format version {VERSION}, and it has another")
    _check_sum(content, header)
    try:
        metadata = json.loads(header)["__metadata__"]
        return {name: str(metadata[name]) for name in _WANTED}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("its metadata is incomplete") from error


def _check_sum(content: bytes, header: bytes) -> None:
    found = _CHECKSUM.search(header)
    if found is None:
        raise ValueError("it has no checksum")
    start = 8 + found.start(1)
    blank = content[:start] + _NO_CHECKSUM + content[start + len(_NO_CHECKSUM) :]
    if hashlib.sha256(blank).hexdigest().encode() != found.group(1):
        raise ValueError("its checksum is wrong: it was cut off, damaged or altered")


def _tensors(content: bytes) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(content)
    except (SafetensorError, KeyError, OverflowError, MemoryError) as error:
        raise ValueError(f"safetensors: {one_line(error)}") from error


def _taken(
    tensors: dict[str, NDArray[Any]],
    name: str,
    dtypes: tuple[str, ...],
    shape: tuple[int | None, ...],
) -> NDArray[Any]:
    """Remove and return a tensor after checking its type and shape; None allows any length."""
    if name not in tensors:
        raise ValueError(f"it lacks {name}")
    one = tensors.pop(name)
    fits = len(one.shape) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, one.shape, strict=True)
    )
    if one.dtype.name not in dtypes or not fits:
        raise ValueError(f"{name} is {one.dtype} {one.shape}")
    return one


def _thresholds(tensors: dict[str, NDArray[Any]]) -> NDArray[np.int32]:
    """Return all layers' thresholds, (channels, levels)."""
    channels = sum(layer.channels_out for layer in TOPOLOGY)
    found = _taken(tensors, "thresholds", ("int16", "int32"), (channels, None))
    if found.shape[1] not in [2**bits - 1 for bits in range(1, MAX_BITS + 1)]:
        raise ValueError(f"it has {found.shape[1]} thresholds a channel")
    wide = found.astype(np.int64)
    if (np.abs(wide) > _LIMIT).any() or (np.diff(wide) < 0).any():
        raise ValueError("its thresholds are out of range, or do not rise")
    return found.astype(np.int32)


def _layers(
    tensors: dict[str, NDArray[Any]], thresholds: NDArray[np.int32]
) -> tuple[PackedLayer, ...]:
    first = tensors.get(f"{TOPOLOGY[0].name}.planes", np.empty(0))
    layers, bits, start = [], first.shape[0] if first.ndim else 0, 0
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"it has {bits} bits a weight")
    for name, channels_in, channels_out, _ in TOPOLOGY:
        size = channels_out * channels_in * 9 // 8
        planes = _taken(tensors, f"{name}.planes", ("uint8",), (bits, size))
        layers.append(PackedLayer(planes, thresholds[start : start + channels_out]))
        start += channels_out
    return tuple(layers)
