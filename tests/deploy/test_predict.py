"""Prediction, from Python and from the command line."""

import errno
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Train
from tests.students import random_images

import bitstill
from bitstill.deploy.export import export
from bitstill.deploy.finished import Choice
from bitstill.deploy.predict import as_json, as_table, predict
from bitstill.errors import UserError


@pytest.fixture
def model(student_run: Path) -> Path:
    return export(student_run, "packed", Choice())


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
    with pytest.raises(
        UserError, match=r"notes.txt is not an image \(cannot identify image file\)"
    ):
        predict(model, [folder / "notes.txt"])
    with pytest.raises(UserError, match=r"nothing.png cannot be read \(No such file"):
        predict(model, [folder / "nothing.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image files: give a folder with some"):
        predict(model, [tmp_path / "empty"])


def test_one_damaged_file_of_a_folder_is_passed_over(
    model: Path, folder: Path, command: Train
) -> None:
    (folder / "a.png").write_bytes((folder / "b.png").read_bytes()[:50])
    found, unread, _ = predict(model, [folder], threads=2)
    assert [Path(one.image).name for one in found] == ["b.png", "a.jpg"]
    [line] = unread
    assert line.startswith(f"{folder / 'a.png'} is not an image (")
    code, out, err = command("predict", str(model), str(folder), "--json")
    assert (code, len(json.loads(out))) == (1, 2)
    skipped = "1 file without an image's extension skipped"
    assert err == f"bitstill: {skipped}\nbitstill: {line}; skipped\n"
    with pytest.raises(UserError, match=r"a\.png is not an image"):
        predict(model, [folder, folder / "a.png"])


def test_names_are_shown_in_one_line(model: Path, folder: Path, command: Train) -> None:
    (folder / "notes.txt").unlink()
    (folder / "b.png").rename(folder / "b\x1b[31m\n.png")
    (folder / "more" / "a.jpg").rename(folder / "more" / "a\x1b[2J.jpg")
    (folder / "more" / "c\n.jpg").write_bytes(b"")
    code, out, err = command("predict", str(model), str(folder))
    assert code == 1
    assert len(out.splitlines()) == 3
    assert len(err.splitlines()) == 1
    assert "\x1b" not in out + err


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
    (folder / "none").mkdir()
    with pytest.raises(UserError, match=r"none holds no image files"):
        predict(model, [folder, folder / "none"])


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
    assert "large.png is not an image (it has more than 1073741824 bytes)" in line


def test_folders_of_damaged_files_alone_are_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in "ab":
        (tmp_path / "d" / f"{name}.png").write_bytes(b"none")
    with pytest.raises(UserError, match=r"a\.png is not an image.*; nor can 1 other be read$"):
        predict(model, [tmp_path / "d"])


def test_an_ending_may_be_in_capitals(model: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "d" / "A.PNG")
    assert len(predict(model, [tmp_path / "d"]).known) == 1
