"""Readers of files against anything: a right value or one line, never another exception."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import made_up
from tests.students import random_student

from bitstill.data.images import decode_image, quiet_pillow
from bitstill.deploy.finished import Choice, load_run
from bitstill.engine.packed import from_bytes, read_packed, to_bytes
from bitstill.errors import UserError
from bitstill.integer import integer_network
from bitstill.packing import pack
from bitstill.report.outputs import teacher_logits
from bitstill.report.sets import run_sets
from bitstill.report.sweeps import Run, read_sweep
from bitstill.runs import RunPaths, RunRecord, read_record
from bitstill.runs.correctness import read_correctness
from bitstill.runs.curves import read_curves
from bitstill.runs.manifest import read_manifest

thorough = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def one_line(error: Exception) -> None:
    assert len(str(error).splitlines()) == 1


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    paths = RunPaths(tmp_path / "sweep" / "run")
    paths.directory.mkdir(parents=True)
    made_up(images={"train": 8, "val": 0, "test": 8}).write(paths)
    return paths


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def mutations(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes changed, put in, taken out, moved or cut, a few times."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        match draw(st.sampled_from("xidmc")):
            case "x":
                changed[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "i":
                changed[at:at] = draw(st.binary(max_size=8))
            case "d":
                del changed[at : at + draw(st.integers(1, 16))]
            case "m":
                changed += changed[at : at + draw(st.integers(1, 64))]
            case _:
                del changed[at:]
    return bytes(changed)


# Records


def is_right(record: RunRecord) -> None:
    """What all that reads records takes for granted."""
    assert record.status in ("running", "done", "failed", "interrupted")
    assert isinstance(record.cell, str)
    for kinds in record.selections.values():
        for row in kinds.values():
            assert row is None or all(isinstance(value, int | float) for value in row.values())
    assert all(isinstance(value, int) for value in (record.epoch, record.epochs, record.seed))
    assert record.error is None or all(isinstance(text, str) for text in record.error.values())


@given(data=st.data())
@thorough
def test_a_record_of_any_bytes(paths: RunPaths, data: st.DataObject) -> None:
    paths.record.write_bytes(data.draw(st.binary(max_size=100)))
    with pytest.raises(UserError) as refusal:
        read_record(paths)
    one_line(refusal.value)


@given(data=st.data())
@thorough
def test_a_record_of_changed_bytes(paths: RunPaths, data: st.DataObject) -> None:
    made_up().write(paths)
    paths.record.write_bytes(data.draw(mutations(paths.record.read_bytes())))
    try:
        record = read_record(paths)
    except UserError as refusal:
        one_line(refusal)
    else:
        assert record is not None
        is_right(record)


@given(data=st.data())
@thorough
def test_a_record_of_other_values(paths: RunPaths, data: st.DataObject) -> None:
    made_up(images={"test": 8}).write(paths)
    plain = json.loads(paths.record.read_bytes())
    name = data.draw(st.sampled_from([*plain, "other"]))
    plain[name] = data.draw(JSON)
    paths.record.write_text(json.dumps(plain))
    try:
        record = read_record(paths)
        assert record is not None
        is_right(record)
        run_sets(read_sweep(paths.directory.parent))
    except UserError as refusal:
        one_line(refusal)


@given(data=st.data())
@thorough
def test_a_manifest_of_anything(paths: RunPaths, data: st.DataObject) -> None:
    folder = paths.directory.parent
    run = {"cell": "n", "seed": 0, "difference": "", "identity": "i", "epochs": 3}
    run |= {"directory": "run", "stored": None}
    forged = copy.copy(run)
    forged[data.draw(st.sampled_from([*run]))] = data.draw(JSON)
    content = data.draw(
        st.sampled_from([json.dumps({"runs": [forged]}).encode()])
        | mutations(json.dumps({"runs": [run]}).encode())
        | st.binary(max_size=50)
    )
    (folder / "sweep.json").write_bytes(content)
    try:
        for one in read_manifest(folder):
            assert all(isinstance(number, int) for number in (one.seed, one.epochs))
            assert all(isinstance(text, str) for text in (one.cell, one.difference))
            assert one.name.isprintable()
    except UserError as refusal:
        one_line(refusal)


# What a report reads


@given(data=st.data())
@thorough
def test_curves_of_anything(paths: RunPaths, data: st.DataObject) -> None:
    good = b"epoch,train/loss,test/accuracy\n1,0.5,0.25\n2,0.25,0.5\n"
    paths.metrics.write_bytes(data.draw(mutations(good) | st.binary(max_size=100)))
    try:
        rows = read_curves(paths)
    except UserError as refusal:
        one_line(refusal)
    else:
        assert all(isinstance(value, float) for row in rows for value in row.values())


@given(data=st.data())
@thorough
def test_per_image_results_of_anything(paths: RunPaths, data: st.DataObject) -> None:
    good = io.BytesIO()
    np.savez(good, **{"running/last": np.packbits(np.ones(8, dtype=bool))})  # type: ignore[arg-type]
    content = mutations(good.getvalue()) | st.binary(max_size=100)
    paths.correctness.write_bytes(data.draw(content))
    try:
        bits = read_correctness(paths)
    except UserError as refusal:
        one_line(refusal)
    else:
        assert all(one.dtype == np.bool_ and one.shape == (8,) for one in bits.values())


@pytest.mark.parametrize(
    "array",
    [np.ones(1), np.ones(1, np.int64), np.array("x"), np.ones((2, 2), np.uint8), np.uint8(3)],
)
def test_per_image_results_of_another_kind(paths: RunPaths, array: Any) -> None:
    np.savez(paths.correctness, **{"running/last": array})
    with pytest.raises(UserError, match="move it away"):
        read_correctness(paths)


@given(data=st.data())
@thorough
def test_teacher_logits_of_anything(paths: RunPaths, data: st.DataObject) -> None:
    from safetensors.numpy import save

    record = made_up(teacher_identity="t")
    stored = RunPaths(paths.directory.parent.parent / "teachers" / "t")
    stored.directory.mkdir(parents=True, exist_ok=True)
    good = save({"logits": np.zeros((4, 3), np.float32)})
    stored.teacher_logits.write_bytes(data.draw(mutations(good) | st.binary(max_size=100)))
    try:
        found = teacher_logits(Run(paths, record))
    except UserError as refusal:
        one_line(refusal)
    else:
        assert found is not None
        assert found.ndim == 2


# Networks


@pytest.fixture(scope="module")
def packed() -> bytes:
    return to_bytes(pack(integer_network(random_student(3))))


@given(data=st.data())
@thorough
def test_a_packed_file_of_changed_bytes(packed: bytes, tmp_path: Path, data: st.DataObject) -> None:
    content = data.draw(mutations(packed) | mutations(packed[:1500]) | st.binary(max_size=100))
    if content == packed:
        return
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        from_bytes(content)
    file = tmp_path / "student.bitstill"
    file.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        read_packed(file)
    one_line(refusal.value)


@given(data=st.data())
@thorough
def test_weights_of_anything(paths: RunPaths, data: st.DataObject) -> None:
    from safetensors.numpy import save

    quantizer = {
        "method": "dorefa",
        "weight_bits": 2,
        "activation_bits": 1,
        "activation_scale": 0.1,
    }
    good = save({"classifier.bias": np.zeros(10, np.float32)})
    record = read_record(paths)
    assert record is not None
    batch_norm = {"momentum": 0.01, "epsilon": 1e-3}
    config = {"batch_norm": batch_norm, "quantizer": quantizer}
    import dataclasses

    dataclasses.replace(record, config=config).write(paths)
    paths.weights.write_bytes(data.draw(mutations(good) | st.binary(max_size=100)))
    with pytest.raises(UserError) as refusal:
        load_run(paths.directory, Choice())
    one_line(refusal.value)


@given(data=st.data())
@thorough
def test_an_image_of_changed_bytes(data: st.DataObject) -> None:
    from PIL import Image

    stream = io.BytesIO()
    form = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM"]))
    Image.new("RGB", (16, 16), "red").save(stream, form)
    try:
        with quiet_pillow():
            pixels = decode_image(data.draw(mutations(stream.getvalue())))
    except ValueError:
        return
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
