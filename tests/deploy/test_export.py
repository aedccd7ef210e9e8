"""Export, from Python and from the command line."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tests.conftest import Train
from tests.deploy.conftest import record
from tests.students import random_images

import bitstill
from bitstill.deploy.export import SUFFIXES, export
from bitstill.deploy.finished import Choice, load_run
from bitstill.deploy.predict import predict
from bitstill.errors import UserError
from bitstill.integer import integer_network
from bitstill.models import Student, to_input
from bitstill.runs import RunPaths


def test_packed(student_run: Path) -> None:
    file = export(student_run, "packed", Choice())
    assert file == student_run / "student.bitstill"
    engine = bitstill.load(file)
    network = load_run(student_run, Choice()).network
    assert isinstance(network, Student)
    images = random_images(5)
    assert np.array_equal(engine.logits(images), integer_network(network)(images).numpy())
    assert engine.model.identity == "a" * 64
    assert engine.model.test_accuracy == 0.75
    assert engine.model.selection == "last 3, precise"
    assert engine.model.classes == tuple("0123456789")


@pytest.mark.parametrize(
    ("quantizer", "form", "message"),
    [
        ({"weight_bits": None}, "packed", "weight_bits = null is full precision"),
        ({"activation_bits": None}, "onnx", "activation_bits = null is full precision"),
        ({"activation_bits": 2}, "onnx", "--format onnx takes 1-bit features"),
        ({"weight_bits": 8}, "onnx", "weights of 1 to 6 bits"),
        ({"weight_bits": 8, "activation_bits": 8}, "qonnx", "float32 cannot hold its sums"),
    ],
    ids=str,
)
def test_bits_that_do_not_fit(
    student_run: Path, quantizer: dict[str, int | None], form: str, message: str
) -> None:
    record("student", quantizer=quantizer).write(RunPaths(student_run))
    with pytest.raises(UserError, match=message) as caught:
        export(student_run, form, Choice())
    assert "\n" not in str(caught.value)


def test_classes_have_their_names(student_run: Path, folder: Path) -> None:
    names = [f"kind {label}" for label in range(10)]
    plain = json.loads((student_run / "run.json").read_text())
    for known, expected in ((names, names), (names[:3], list("0123456789"))):
        (student_run / "run.json").write_text(json.dumps(plain | {"classes": known}))
        model = export(student_run, "packed", Choice())
        assert list(bitstill.load(model).model.classes) == expected
    (student_run / "run.json").write_text(json.dumps(plain | {"classes": names}))
    [one], *_ = predict(export(student_run, "packed", Choice()), [folder / "b.png"])
    assert one.name == f"kind {one.label}"


def test_what_a_run_left_is_not_written_over(student_run: Path) -> None:
    """The report reads it, and holds it against the record."""
    kept = student_run / "student.bitstill"
    export(student_run, "packed", Choice())
    before = kept.read_bytes()
    for choice, name in (
        (Choice("best_val"), "student-best_val.bitstill"),
        (Choice(statistics="running"), "student-running.bitstill"),
        (Choice("best_val", "running"), "student-best_val-running.bitstill"),
    ):
        assert export(student_run, "packed", choice) == student_run / name
    assert kept.read_bytes() == before
    assert export(student_run, "packed", Choice(statistics="precise")) == kept


def test_a_name_for_another_form_is_refused(student_run: Path, tmp_path: Path) -> None:
    for name, form, fitting in (
        ("a.onnx", "packed", "onnx or qonnx"),
        ("a.bitstill", "onnx", "packed"),
        ("a.bitstill", "qonnx", "packed"),
        ("a.c", "packed", "c"),
        ("a.onnx", "c", "onnx or qonnx"),
    ):
        with pytest.raises(UserError, match=rf"is not a name for {form}: give --format {fitting}$"):
            export(student_run, form, Choice(), tmp_path / name)
    assert not list(tmp_path.glob("a.*"))


def test_what_cannot_be_written(student_run: Path, teacher_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--format = tflite is not allowed: give one of packed"):
        export(student_run, "tflite", Choice())
    with pytest.raises(UserError, match="a teacher has no packed form: give --format onnx"):
        export(teacher_run, "packed", Choice())
    with pytest.raises(UserError, match=r"cannot be written .*: give --output"):
        export(student_run, "packed", Choice(), tmp_path / "nowhere" / "student.bitstill")


def test_a_teacher_is_exported_too(teacher_run: Path) -> None:
    file = export(teacher_run, "onnx", Choice())
    assert file == teacher_run / "teacher.onnx"
    run, images = load_run(teacher_run), random_images(5)
    known = {one.key: one.value for one in onnx.load(file).metadata_props}
    assert known["selection"] == f"last {run.epoch}, running"
    assert known["test_accuracy"] == repr(run.test_accuracy)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        expected = run.network(to_input(images)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["onnx", "qonnx"])
def test_without_its_extra_onnx_is_named(
    student_run: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    for module in ("graph", "onnx_models", "qonnx_model"):
        monkeypatch.delitem(sys.modules, f"bitstill.deploy.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"^onnx is not installed: pip install 'bitstill\[onnx\]'$"):
        export(student_run, form, Choice())


def test_output_replaces_nothing_but_exports(student_run: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.bitstill"
    os.mkfifo(pipe)
    precious = tmp_path / "other" / "weights.safetensors"  # another run's
    precious.parent.mkdir()
    another = tmp_path / "another" / "student.bitstill"
    another.parent.mkdir()
    (another.parent / "run.json").touch()
    for file in (precious, another, student_run / "train.log"):
        file.write_bytes(b"mine")
    for output, why in (
        (pipe, "is not a file: give another name"),
        (student_run / "weights.safetensors", "ends in none of .bitstill, .c and .onnx: .*"),
        (tmp_path / "folder", "ends in none of .bitstill, .c and .onnx: give another name"),
        (another, "is another run's: give another name"),
        (precious, "ends in none of .bitstill, .c and .onnx: give another name"),
    ):
        with pytest.raises(UserError, match=f"^--output = .* {why}$"):
            export(student_run, "packed", Choice(), output)
    assert pipe.is_fifo()
    assert {file.read_bytes() for file in (precious, another)} == {b"mine"}
    packed = RunPaths(student_run).packed
    for same in (packed, student_run / ".." / "student" / packed.name):
        assert export(student_run, "packed", Choice(), same) == same
    with pytest.raises(UserError, match="is the run's own: give another name"):
        export(student_run, "packed", Choice(statistics="running"), packed)


def test_a_forged_record_does_not_say_where(student_run: Path) -> None:
    paths = RunPaths(student_run)
    plain = json.loads(paths.record.read_text()) | {"model": "../../evil"}
    paths.record.write_text(json.dumps(plain))
    with pytest.raises(UserError, match=r"run\.json"):
        export(student_run, "packed", Choice())


def test_what_predict_would_refuse_is_not_written(student_run: Path) -> None:
    paths = RunPaths(student_run)
    record("student", classes=[*"012345678", "a\tb"]).write(paths)
    with pytest.raises(UserError, match="names that cannot be printed"):
        export(student_run, "packed", Choice())
    assert not paths.packed.exists()


def test_the_command_line(student_run: Path, folder: Path, tmp_path: Path, command: Train) -> None:
    file = tmp_path / "it.bitstill"
    given = ("--statistics", "running", "--output", str(file))
    said = command("export", str(student_run), *given)
    assert said == (0, f"{file}: {file.stat().st_size} bytes\n", "")
    code, out, err = command("predict", str(file), str(folder), "--json")
    assert (code, len(json.loads(out))) == (0, 2)
    assert err == "bitstill: 1 file without an image's extension skipped\n"
    code, out, err = command("predict", str(folder / "b.png"), str(folder))
    assert (code, out) == (2, "")
    assert err.startswith("bitstill: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("form", ["c", "onnx", "qonnx"])
def test_a_packed_student_has_the_forms_of_its_run(student_run: Path, form: str) -> None:
    """For whoever was given that file alone."""
    expected = export(student_run, form, Choice()).read_bytes()
    given = student_run.parent / "given.bitstill"
    given.write_bytes(export(student_run, "packed", Choice()).read_bytes())
    file = export(given, form, Choice())
    assert file == given.with_suffix(SUFFIXES[form])
    assert file.read_bytes() == expected
    for wrong in (("packed", Choice()), (form, Choice("best_val"))):
        with pytest.raises(UserError, match=r"given\.bitstill is packed, of one choice of weights"):
            export(given, *wrong)
    other = given.rename(given.with_name("given.v2"))
    assert export(other, form, Choice()) == given.with_name(f"given.v2{SUFFIXES[form]}")
    named = other.rename(given.with_name(f"named{SUFFIXES[form]}"))
    with pytest.raises(UserError, match=rf"{re.escape(named.name)} is what is exported: give ano"):
        export(named, form, Choice(), named)
    given.write_bytes(b"x")
    with pytest.raises(UserError, match=r"given\.bitstill is not a valid packed model"):
        export(given, form, Choice())


@pytest.mark.parametrize("form", ["onnx", "qonnx"])
def test_every_form_carries_what_it_is(student_run: Path, form: str) -> None:
    model = onnx.load(export(student_run, form, Choice("best_val")))
    found = {one.key: one.value for one in model.metadata_props}
    assert (found["identity"], found["test_accuracy"]) == ("a" * 64, "0.5")
    assert found["selection"] == "best_val 2, precise"
    assert found["classes"].splitlines() == list("0123456789")


@pytest.mark.parametrize("name", ["lock", "gradients"])
def test_lock_and_gradients_are_the_runs_own(student_run: Path, name: str) -> None:
    own = getattr(RunPaths(student_run), name)
    own.write_text("kept")
    with pytest.raises(UserError, match="ends in none of"):
        export(student_run, "packed", Choice(), own)
