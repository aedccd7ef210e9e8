"""Image files in one folder per class."""

import dataclasses
import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.conftest import SMALL, Train

from bitstill.data import Folder
from bitstill.data.source import read_once
from bitstill.errors import UserError
from bitstill.runs import known_runs
from bitstill.runs.curves import read_curves

PLACES = (
    *("train/cat/a.png", "train/cat/B.PNG", "train/cat/more/c.png", "train/dog/a.png"),
    *("train/dog/b.jpeg", "test/cat/a.png", "test/dog/a.png", "test/dog/b.png"),
)
LABELS = (0, 0, 0, 1, 1, 0, 1, 1)


@pytest.fixture
def folder(tmp_path: Path, pictures: NDArray[np.uint8]) -> Path:
    """Five training and three test pictures of cats and dogs, and what is no picture."""
    for place, picture in zip(PLACES, pictures, strict=False):
        file = tmp_path / "pictures" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    root = tmp_path / "pictures"
    (root / "train/cat/.thumbnails").mkdir()
    shutil.copy(root / "train/cat/a.png", root / "train/cat/.thumbnails/a.png")
    (root / "train/.cache").mkdir()
    for place in ("train/cat/.hidden.png", "train/cat/notes.txt", "train/labels.csv", "test/x.png"):
        (root / place).write_text("no picture")
    (root / "test/empty").mkdir()
    return root


@pytest.fixture
def source(folder: Path, options: dict[str, Any]) -> Folder:
    return Folder(**(options | {"path": str(folder), "val_fraction": 0.0}))


def test_images_stay_bit_for_bit(
    source: Folder, folder: Path, pictures: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    """In the order of classes, then of their files' names; what is hidden is passed over."""
    data = source.load()
    assert data.names == ("cat", "dog")
    assert data.train.labels.tolist() == list(LABELS[:5])
    assert data.test.labels.tolist() == list(LABELS[5:])
    train = data.train.images.numpy()
    in_order = [PLACES.index(f"train/cat/{name}") for name in ("B.PNG", "a.png", "more/c.png")]
    assert np.array_equal(train[:4], pictures[[*in_order, 3]])
    with Image.open(folder / "train/dog/b.jpeg") as photo:
        assert np.array_equal(train[4], np.asarray(photo))
    assert np.array_equal(data.test.images.numpy(), pictures[5:8])
    assert caplog.text == ""


def test_a_validation_split_is_passed_over(
    source: Folder, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folder / "test", folder / "val")
    assert len(source.load().train) == 5
    assert "val/ is not read: data.val_fraction of the training images is held out" in caplog.text
    assert "data.val_fraction=null reads it" in caplog.text


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_split_is_used_if_asked_for(
    source: Folder, folder: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    own = dataclasses.replace(source, val_fraction=None)
    with pytest.raises(UserError, match=rf"^data\.path={folder} has no folder val: give one"):
        own.identity()
    shutil.copytree(folder / "test", folder / name)
    shutil.copy(folder / "train/dog/a.png", folder / name / "dog/c.png")
    data = own.load()
    assert [len(split) for split in (data.train, data.val, data.test)] == [5, 4, 3]
    assert data.val.labels.tolist() == [0, 1, 1, 1]
    assert np.array_equal(data.val.images[:3].numpy(), data.test.images.numpy())
    assert own.training_images() == 5
    assert data.identity not in (
        source.identity(),
        dataclasses.replace(own, split_seed=1).identity(),
    )
    assert caplog.text.count("not read") == 1, "said of the other source"
    shutil.rmtree(folder / name / "cat")
    (folder / name / "dog").rename(folder / name / "cow")
    with pytest.raises(UserError, match=r"has val/cow, and no train/cow: call a class the same in"):
        own.identity()


def remove(*places: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for place in places:
            shutil.rmtree(folder / place)

    return change


def write(place: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_bytes(b"no picture")

    return change


def rename(place: str, name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / place).rename(folder / name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (remove("train"), " has no folder train: give one with train/CLASS/ in it, a folder"),
        (remove("test"), " has no folder test: give one with"),
        (remove("train/cat", "train/dog"), " has 0 folders in train/: give one for each class"),
        (remove("train/dog"), " has 1 folder in train/: give one for each class, 2 to 4096"),
        (
            rename("train/cat", "train/cow"),
            " has test/cat, and no train/cat: call",
        ),
        (remove("test/cat", "test/dog"), " has no images in test/CLASS/: add some"),
        (lambda root: (root / "train/ant").mkdir(), " has no images in train/ant: remove it, or"),
        (rename("train/dog", "train/do\ng"), r" has a class 'do\ng': rename its folder"),
        (write("train/c\nw/a.png"), r" has a class 'c\nw': rename its folder"),
    ],
)
def test_what_is_no_such_folder_is_refused(
    source: Folder, folder: Path, change: Callable[[Path], object], said: str
) -> None:
    change(folder)
    with pytest.raises(UserError) as caught:
        source.identity()
    line = str(caught.value)
    assert line.startswith(f"data.path={folder}{said}")
    assert "\n" not in line


def test_a_file_that_is_no_picture_is_named(source: Folder, folder: Path) -> None:
    write("test/dog/c.png")(folder)
    with pytest.raises(UserError) as caught:
        source.load()
    assert str(caught.value) == (
        f"data.path: {folder / 'test/dog/c.png'} is not an image (cannot identify image file): "
        "give PNG, JPEG or the like, or remove it"
    )


@pytest.mark.parametrize("place", ["train", "train/cat", "train/cat/more"])
def test_a_folder_that_cannot_be_read_is_named(
    source: Folder, folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Its images would be missing."""
    closed, scan = folder / place, os.scandir

    def scandir(path: str) -> Any:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(
        UserError, match=rf"^data\.path: {closed} cannot be read \(Permission denied"
    ):
        source.identity()


def test_each_change_makes_other_data(source: Folder, folder: Path) -> None:
    found = [source.identity()]
    shutil.copy(folder / "train/cat/a.png", folder / "train/dog/new.png")
    found.append(source.identity())
    shutil.copy(folder / "test/dog/b.png", folder / "test/dog/a.png")
    found.append(source.identity())
    (folder / "train/dog").rename(folder / "train/wolf")
    (folder / "test/dog").rename(folder / "test/wolf")
    found.append(source.identity())
    assert len(set(found)) == len(found)


def test_a_link_to_a_folder_is_that_folder(
    source: Folder, folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    os.symlink(folder, tmp_path / "link")
    link = Folder(**(options | {"path": str(tmp_path / "link"), "val_fraction": 0.0}))
    assert source.identity() == link.identity()
    assert len(list(Path(source.cache).glob("*/meta.json"))) == 1


def test_a_sweep_looks_for_files_once(source: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    locate = Folder._locate

    def counted(one: Folder) -> Sequence[Path]:
        looked.append(one)
        return locate(one)

    monkeypatch.setattr(Folder, "_locate", counted)
    with read_once():
        assert source.identity() == source.load().identity
        assert source.training_images() == 5
    assert len(looked) == 1
    source.identity()
    assert len(looked) == 2


def test_a_run_is_trained_on_it(folder: Path, tmp_path: Path, train: Train) -> None:
    """And validated on the split that it comes with."""
    shutil.copytree(folder / "test", folder / "val")
    code, _, err = train(
        *(*SMALL, "schedule.batch_size=2", "evaluation.calibration_images=2", "loss=hard"),
        *("data=folder", f"data.path={folder}", "data.val_fraction=null"),
        *(f"paths.output={tmp_path}", "name=mine"),
    )
    assert code == 0, err
    [(paths, record)] = known_runs(tmp_path / "mine")
    assert record.done
    assert list(record.classes) == ["cat", "dog"]
    assert record.config["data"]["source"] == "folder"
    assert record.images == {"train": 5, "val": 3, "test": 3}
    [epoch] = read_curves(paths)
    assert epoch["val/accuracy"] == epoch["test/accuracy"]
