"""The file comes back whole, and nothing else is taken for one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from bitstill.engine import packed as packing
from bitstill.engine.packed import PackedModel, from_bytes, read_packed, to_bytes
from bitstill.errors import UserError

KNOWN = {
    "identity": "c" * 64,
    "test_accuracy": 0.9012345678901234,
    "selection": "last 60, precise",
}


@pytest.fixture(scope="session")
def content(packed: PackedModel) -> bytes:
    return to_bytes(replace(packed, **KNOWN))  # type: ignore[arg-type]  # values of three types


def test_it_comes_back(packed: PackedModel, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "student.bitstill"
    file.write_bytes(content)
    found = read_packed(file)
    assert (found.weight_bits, found.activation_bits) == (2, 1)
    assert {name: getattr(found, name) for name in KNOWN} == KNOWN
    assert found.classes == packed.classes
    assert np.array_equal(found.weight, packed.weight)
    assert np.array_equal(found.bias, packed.bias)
    for ours, theirs in zip(found.layers, packed.layers, strict=True):
        assert np.array_equal(ours.planes, theirs.planes)
        assert np.array_equal(ours.thresholds, theirs.thresholds)


def test_the_published_student_fits_80_kilobytes(content: bytes) -> None:
    assert len(content) <= 80_000
    assert 293_418 * 4 / len(content) > 14.5


def test_others_can_read_it(content: bytes) -> None:
    assert set(load(content)) >= {"classifier", "thresholds", "conv1.planes", "conv42.planes"}


def test_the_same_model_gives_the_same_bytes(packed: PackedModel) -> None:
    assert to_bytes(packed) == to_bytes(from_bytes(to_bytes(packed)))


def test_logits_that_would_not_be_finite(packed: PackedModel) -> None:
    weight = np.full_like(packed.weight, 3e37)
    with pytest.raises(ValueError, match="its last layer is not finite"):
        from_bytes(to_bytes(replace(packed, weight=weight)))


@given(data=st.data())
@settings(max_examples=60)
def test_one_changed_byte_is_found(content: bytes, data: st.DataObject) -> None:
    # Half of the places in the header, which is the smaller and the more delicate part.
    last = data.draw(st.sampled_from([1200, len(content) - 1]))
    at = data.draw(st.integers(0, last))
    changed = bytearray(content)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        from_bytes(bytes(changed))


@given(length=st.integers(0, 79_000))
@settings(max_examples=40)
def test_a_truncated_file_is_found(content: bytes, length: int) -> None:
    with pytest.raises(ValueError, match=r"truncated|checksum"):
        from_bytes(content[:length])


@given(junk=st.binary(max_size=200))
@settings(max_examples=60)
def test_junk_is_found(junk: bytes) -> None:
    for content in (junk, len(junk).to_bytes(8, "little") + b"{" + junk):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            from_bytes(content)


def forged(content: bytes, **header: object) -> bytes:
    """A file with a changed header and the checksum that belongs to it."""
    import hashlib

    size = int.from_bytes(content[:8], "little")
    parts = json.loads(content[8 : 8 + size])
    parts["__metadata__"]["checksum"] = "0" * 64
    for name, value in header.items():
        if value is None:
            del parts[name]
        else:
            parts[name.replace("_planes", ".planes")] = value
    text = json.dumps(parts, separators=(",", ":")).encode()
    blank = len(text).to_bytes(8, "little") + text + content[8 + size :]
    return blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode(), 1)


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 5160]},
        {"dtype": "F32", "shape": [10, 129], "data_offsets": [0, 2**60]},
        {"dtype": "F32", "shape": [129, 10], "data_offsets": [0, 5160]},
        {"dtype": "U8", "shape": [5160], "data_offsets": [0, 5160]},
        {"dtype": "BF16", "shape": [20, 129], "data_offsets": [0, 5160]},
        {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        7,
    ],
    ids=str,
)
def test_absurd_shapes_are_refused(content: bytes, tensor: object) -> None:
    assert from_bytes(forged(content)).classes == from_bytes(content).classes
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        from_bytes(forged(content, classifier=tensor))


@pytest.mark.parametrize(
    ("name", "message"),
    [("classifier", "it lacks classifier"), ("conv1.planes", "it has 0 bits a weight")],
)
def test_what_has_another_name_is_missed(content: bytes, name: str, message: str) -> None:
    one = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])[name]
    with pytest.raises(ValueError, match=message):
        from_bytes(forged(content, **{name: None, "mine": one}))


def test_what_belongs_to_no_student_is_found(content: bytes) -> None:
    end = len(content) - 8 - int.from_bytes(content[:8], "little")
    empty = {"dtype": "U8", "shape": [0], "data_offsets": [end, end]}
    with pytest.raises(ValueError, match="it holds 'mine' too"):
        from_bytes(forged(content, mine=empty))
    known = {"format": packing.FORMAT, "version": packing.VERSION, "checksum": "0" * 64}
    with pytest.raises(ValueError, match="its metadata is incomplete"):
        from_bytes(forged(content, __metadata__=known))


@pytest.mark.parametrize("shape", [[], [1], [1, 1, 54], [54]])
def test_absurd_planes_are_refused(content: bytes, shape: list[int]) -> None:
    size = int(np.prod(shape))
    planes = {"dtype": "U8", "shape": shape, "data_offsets": [0, size]}
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        from_bytes(forged(content, conv1_planes=planes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("one",)}, "names 1 classes and has 10"),
        ({"classes": ("\x1b[2J", *"123456789")}, "names that cannot be printed"),
        ({"weight": np.full((10, 128), np.nan, np.float32)}, "its last layer is not finite"),
        ({"test_accuracy": 2.0}, "its test accuracy is 2"),
    ],
)
def test_what_does_not_fit_is_refused(
    packed: PackedModel, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        from_bytes(to_bytes(replace(packed, **changes)))  # type: ignore[arg-type]


def test_thresholds_that_fall_are_refused(packed: PackedModel) -> None:
    layers = [
        replace(one, thresholds=np.hstack([one.thresholds, one.thresholds - 1, one.thresholds]))
        for one in packed.layers
    ]
    with pytest.raises(ValueError, match="thresholds are out of range, or do not rise"):
        from_bytes(to_bytes(replace(packed, layers=tuple(layers))))


def with_thresholds(model: PackedModel, value: int, *, levels: int = 1) -> PackedModel:
    layers = [
        replace(one, thresholds=np.full((len(one.thresholds), levels), value, np.int32))
        for one in model.layers
    ]
    return replace(model, layers=tuple(layers))


@pytest.mark.parametrize("value", [2**15 - 1, 2**15, -(2**15), -(2**15) - 1, 2**27])
def test_thresholds_of_any_size_come_back(packed: PackedModel, value: int) -> None:
    """Those that 16 bits hold are written in 16 bits, and others are not cut."""
    found = from_bytes(to_bytes(with_thresholds(packed, value)))
    assert {int(one) for layer in found.layers for one in layer.thresholds.ravel()} == {value}


@pytest.mark.parametrize("value", [2**27 + 1, -(2**27) - 1])
def test_thresholds_above_every_sum_are_refused(packed: PackedModel, value: int) -> None:
    with pytest.raises(ValueError, match="thresholds are out of range, or do not rise"):
        from_bytes(to_bytes(with_thresholds(packed, value)))


@pytest.mark.parametrize("levels", [2, 256, 511])
def test_thresholds_of_no_number_of_bits_are_refused(packed: PackedModel, levels: int) -> None:
    with pytest.raises(ValueError, match=f"it has {levels} thresholds a channel"):
        from_bytes(to_bytes(with_thresholds(packed, 0, levels=levels)))


def test_messages_name_file_and_next_step(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "student.bitstill"
    with pytest.raises(UserError, match=r"cannot be read \(No such file or directory\)"):
        read_packed(file)
    for name, reason in (("x\0y", "embedded null byte"), ("x" * 300, "File name too long")):
        with pytest.raises(UserError, match=rf"cannot be read \({reason}\): give a packed file"):
            read_packed(tmp_path / name)
    for wrong, reason in (
        (b"", "truncated, or another kind of file"),
        (save({"x": np.zeros(3)}), "another program wrote it"),
        (content.replace(b'"version":"1"', b'"version":"2"'), "reads format version 1"),
        (content[:-1], "its checksum is wrong: it was cut off"),
        (content + b"\0" * packing.MAX_BYTES, "it is larger than"),
    ):
        file.write_bytes(wrong)
        with pytest.raises(UserError, match=f"student.bitstill is not a valid packed .*{reason}"):
            read_packed(file)
