"""Export, prediction and the command line around them."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from tests.deploy.conftest import record
from tests.students import random_images, random_student

import bitstill
from bitstill.deploy.export import SUFFIXES, export
from bitstill.deploy.finished import Choice, load_run
from bitstill.deploy.predict import as_json, as_table, predict
from bitstill.errors import UserError
from bitstill.integer import integer_network
from bitstill.models import Student
from bitstill.runs import RunPaths, read_record
from bitstill.training.weights import save_weights


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
    ):
        with pytest.raises(UserError, match=rf"is no name for {form}: give --format {fitting}$"):
            export(student_run, form, Choice(), tmp_path / name)
    assert not list(tmp_path.glob("a.*"))


def test_what_cannot_be_written(student_run: Path, teacher_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--format = tflite is not allowed: give one of packed"):
        export(student_run, "tflite", Choice())
    with pytest.raises(UserError, match="a teacher has no packed form: give --format onnx"):
        export(teacher_run, "packed", Choice())
    with pytest.raises(UserError, match=r"cannot be written .*: give --output"):
        export(student_run, "packed", Choice(), tmp_path / "nowhere" / "student.bitstill")


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
        (pipe, "is no file: give another name"),
        (student_run / "weights.safetensors", "ends neither in .bitstill nor in .onnx: .*"),
        (tmp_path / "folder", "ends neither in .bitstill nor in .onnx: give another name"),
        (another, "is another run's: give another name"),
        (precious, "ends neither in .bitstill nor in .onnx: give another name"),
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


@pytest.fixture
def model(student_run: Path) -> Path:
    return export(student_run, "packed", Choice())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one in a subfolder, and a file that is none."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    one, two = random_images(4).numpy()[2:]
    Image.fromarray(one).save(folder / "b.png")
    Image.fromarray(two).resize((64, 48)).save(folder / "more" / "a.jpg")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_predict(model: Path, folder: Path) -> None:
    found, unread, others = predict(model, [folder, folder / "b.png"])
    assert (unread, others) == ([], 1)
    assert [Path(one.image).name for one in found] == ["b.png", "a.jpg", "b.png"]
    logits = bitstill.load(model).logits(random_images(4)[2:3])[0].astype(float)
    assert found[0].label == logits.argmax()
    share = np.exp(logits[found[0].label]) / np.exp(logits).sum()
    assert found[0].confidence == pytest.approx(share)
    parsed = json.loads(as_json(found))
    assert parsed[0].keys() == {"image", "label", "name", "confidence"}
    lines = as_table(found).splitlines()
    assert lines[0].split() == ["image", "class", "confidence"]
    assert lines[1].split()[1:] == [found[0].name, f"{100 * share:.1f}%"]


def test_predicting_shows_progress(
    model: Path, folder: Path, watch: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    watch()
    predict(model, [folder])
    assert "predicting: 100%" in capsys.readouterr().err


def test_predicting_in_threads_leaves_warnings_alone(model: Path, folder: Path) -> None:
    """Python's filters of warnings are the whole process's."""
    for number in range(40):
        (folder / f"{number}.png").write_bytes((folder / "b.png").read_bytes())
    before = list(warnings.filters)
    predict(model, [folder], threads=4)
    assert warnings.filters == before


def test_what_is_no_image(model: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"notes.txt is no image \(cannot identify image file\)"):
        predict(model, [folder / "notes.txt"])
    with pytest.raises(UserError, match=r"nothing.png cannot be read \(No such file"):
        predict(model, [folder / "nothing.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image files: give a folder with some"):
        predict(model, [tmp_path / "empty"])


def test_one_damaged_file_of_a_folder_is_passed_over(model: Path, folder: Path) -> None:
    (folder / "a.png").write_bytes((folder / "b.png").read_bytes()[:50])
    found, unread, _ = predict(model, [folder], threads=2)
    assert [Path(one.image).name for one in found] == ["b.png", "a.jpg"]
    [line] = unread
    assert line.startswith(f"{folder / 'a.png'} is no image (")
    done = command("predict", model, folder, "--json")
    assert (done.returncode, len(json.loads(done.stdout))) == (1, 2)
    passed_over = "1 file without an image's extension passed over"
    assert done.stderr == f"bitstill: {passed_over}\nbitstill: {line}; passed over\n"
    with pytest.raises(UserError, match=r"a\.png is no image"):
        predict(model, [folder, folder / "a.png"])


def test_names_are_shown_in_one_line(model: Path, folder: Path) -> None:
    (folder / "notes.txt").unlink()
    (folder / "b.png").rename(folder / "b\x1b[31m\n.png")
    (folder / "more" / "a.jpg").rename(folder / "more" / "a\x1b[2J.jpg")
    (folder / "more" / "c\n.jpg").write_bytes(b"")
    done = command("predict", model, folder)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 3
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stdout + done.stderr


def test_a_folder_that_cannot_be_entered_is_named(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def closed(path: str) -> Any:
        if Path(path).name == "more":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    known, unread, _ = predict(model, [folder])
    assert [Path(one.image).name for one in known] == ["b.png"]
    assert unread == [f"{folder / 'more'} cannot be entered: give a folder that can"]


def test_so_is_one_that_can_be_listed_alone(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def forbidden(path: Path, **options: Any) -> os.stat_result:
        if path.parent.name == "more":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", forbidden)
    known, unread, _ = predict(model, [folder])
    assert [Path(one.image).name for one in known] == ["b.png"]
    file = folder / "more" / "a.jpg"
    assert unread == [f"{file} cannot be read (Permission denied): give an image file"]


def test_a_file_far_too_large_is_passed_over(model: Path, folder: Path) -> None:
    with (folder / "large.png").open("wb") as file:
        file.truncate(2**30 + 1)
    known, [line], _ = predict(model, [folder])
    assert len(known) == 2
    assert "large.png is no image (it has more than 1073741824 bytes)" in line


def command(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "bitstill", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603


def test_the_command_line(student_run: Path, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "it.bitstill"
    done = command("export", student_run, "--statistics", "running", "--output", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{file}: {file.stat().st_size} bytes\n"
    done = command("predict", file, folder, "--json")
    assert (done.returncode, len(json.loads(done.stdout))) == (0, 2)
    assert done.stderr == "bitstill: 1 file without an image's extension passed over\n"
    done = command("predict", folder / "b.png", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bitstill: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("form", ["onnx", "qonnx"])
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
    with pytest.raises(UserError, match=r"named\.onnx is what is exported: give another name"):
        export(
            other.rename(given.with_name("named.onnx")),
            form,
            Choice(),
            given.with_name("named.onnx"),
        )
    given.write_bytes(b"x")
    with pytest.raises(UserError, match=r"given\.bitstill is no sound packed model"):
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
    with pytest.raises(UserError, match="ends neither in"):
        export(student_run, "packed", Choice(), own)


def test_weights_that_are_not_finite(student_run: Path) -> None:
    student = random_student(5)
    with torch.no_grad():
        student.classifier.weight[0, 0] = torch.nan
    save_weights(student, RunPaths(student_run).weights, {})
    with pytest.raises(
        UserError, match="holds numbers that are not finite: remove the run's folder"
    ):
        load_run(student_run, Choice(statistics="running"))


def test_batch_norm_is_the_records(student_run: Path) -> None:
    paths = RunPaths(student_run)
    found = read_record(paths)
    assert found is not None
    config = found.config | {"batch_norm": {"momentum": 0.25, "epsilon": 0.125}}
    dataclasses.replace(found, config=config).write(paths)
    norms = [block.norm for block in load_run(student_run).network.stages()]
    assert {(one.momentum, one.eps) for one in norms} == {(0.25, 0.125)}


def test_more_names_than_classes(student_run: Path) -> None:
    names = [f"kind {number}" for number in range(11)]
    record("student", classes=names).write(RunPaths(student_run))
    assert load_run(student_run).classes == list("0123456789")


def test_folders_of_damaged_files_alone_are_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in "ab":
        (tmp_path / "d" / f"{name}.png").write_bytes(b"none")
    with pytest.raises(UserError, match=r"a\.png is no image.*; nor can 1 other be read$"):
        predict(model, [tmp_path / "d"])


def test_an_ending_may_be_in_capitals(model: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "d" / "A.PNG")
    assert len(predict(model, [tmp_path / "d"]).known) == 1
