import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bitstill.data import Digits, ImageSource, Parquet, Svhn
from bitstill.data.source import Decoded, Part, _checksum
from bitstill.errors import UserError


@pytest.fixture
def parquet(options: dict[str, Any], parquet_folder: Path) -> Parquet:
    return Parquet(path=str(parquet_folder), **options)


def run_python(script: str) -> str:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-c", script], check=True, capture_output=True, text=True
    )
    return done.stdout


def test_decoded_once(parquet: Parquet, monkeypatch: pytest.MonkeyPatch) -> None:
    first = parquet.load()

    def fail(*_: object) -> None:
        raise AssertionError("decoded twice")

    monkeypatch.setattr(Parquet, "_decode", fail)
    second = parquet.load()
    assert torch.equal(first.train.images, second.train.images)
    assert first.identity == second.identity == parquet.identity()
    # Another split of the same images needs no decoding either.
    assert len(dataclasses.replace(parquet, val_fraction=0.5).load().val) == 4


def test_damaged_cache_is_decoded_again(parquet: Parquet) -> None:
    before = parquet.load().train.images.clone()
    for array in Path(parquet.cache).glob("*/train_images.npy"):
        array.write_bytes(array.read_bytes()[:-100])
    assert torch.equal(parquet.load().train.images, before)


@pytest.mark.parametrize("val_fraction", [0.0, 0.25])
def test_tensors_lie_on_mapped_files(
    parquet: Parquet, val_fraction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[NDArray[Any]] = []
    real = torch.from_numpy

    def remember(array: NDArray[Any]) -> torch.Tensor:
        given.append(array)
        return real(array)

    monkeypatch.setattr(torch, "from_numpy", remember)
    data = dataclasses.replace(parquet, val_fraction=val_fraction).load()
    assert len(given) == 6
    assert all(isinstance(array, np.memmap) or array.size == 0 for array in given)
    assert data.train.images.data_ptr() == given[0].ctypes.data


def test_split_is_disjoint_complete_and_keeps_the_order(parquet: Parquet) -> None:
    everything = dataclasses.replace(parquet, val_fraction=0.0).load().train
    data = parquet.load()
    assert (len(data.train), len(data.val)) == (6, 2)

    def rows(images: torch.Tensor) -> list[int]:
        same = (images[:, None] == everything.images[None]).flatten(2).all(2)
        return same.int().argmax(1).tolist()

    train, val = rows(data.train.images), rows(data.val.images)
    assert sorted(train + val) == list(range(8))
    assert train == sorted(train)
    assert val == sorted(val)
    assert torch.equal(data.val.labels, everything.labels[val])


def test_split_does_not_depend_on_the_seed_of_a_run(parquet: Parquet, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = parquet.load()
    torch.manual_seed(2)
    second = dataclasses.replace(parquet, cache=str(tmp_path / "other")).load()
    assert torch.equal(first.val.images, second.val.images)


def test_identity_does_not_depend_on_paths(parquet: Parquet, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(parquet.path, copy)
    moved = dataclasses.replace(parquet, path=str(copy), cache=str(tmp_path / "other"))
    assert moved.identity() == parquet.identity()
    assert len(parquet.identity()) == 64


def test_identity_depends_on_the_images_and_their_split(parquet: Parquet) -> None:
    variants = [parquet]
    variants += [dataclasses.replace(parquet, val_fraction=value) for value in (0.0, 0.5)]
    variants += [dataclasses.replace(parquet, split_seed=1)]
    identities = [source.identity() for source in variants]
    # Train and test swapped: the same images in other roles.
    train, test = sorted(Path(parquet.path).iterdir(), reverse=True)
    train.rename(train.with_name("temporary"))
    test.rename(train)
    train.with_name("temporary").rename(test)
    identities.append(parquet.identity())
    assert len(set(identities)) == 5


def test_links_and_their_targets_share_a_cache_entry(parquet: Parquet, tmp_path: Path) -> None:
    parquet.identity()
    os.symlink(parquet.path, tmp_path / "link")
    dataclasses.replace(parquet, path=str(tmp_path / "link")).identity()
    assert len(list(Path(parquet.cache).glob("*/meta.json"))) == 1


def test_checksum_pins_the_images(parquet: Parquet) -> None:
    with pytest.raises(UserError) as refused:
        dataclasses.replace(parquet, checksum="0" * 64).load()
    message = str(refused.value)
    assert message.startswith("data.checksum: the parquet images have SHA-256 ")
    assert f", expected {'0' * 64}: use the files" in message
    found = message.split("SHA-256 ")[1].split(",")[0]
    assert dataclasses.replace(parquet, checksum=found).load().identity == parquet.identity()


def test_fraction_that_leaves_nothing_is_refused_by_identity_too(parquet: Parquet) -> None:
    with pytest.raises(UserError, match=r"^data.val_fraction=0.99 takes all 8 training images"):
        dataclasses.replace(parquet, val_fraction=0.99).identity()


@pytest.mark.parametrize("source", [Digits, Parquet, Svhn])
def test_sources_are_frozen_and_keyword_only(source: type[ImageSource]) -> None:
    assert all(field.kw_only for field in dataclasses.fields(source))
    keys = {field.name for field in dataclasses.fields(source)}
    assert {"val_fraction", "split_seed", "cache", "checksum"} <= keys
    options = dict.fromkeys(keys)
    made = source(**options)  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.cache = "other"  # type: ignore[misc]


def test_import_is_light(parquet: Parquet) -> None:
    heavy = "{'torch', 'sklearn', 'scipy', 'pyarrow', 'pooch', 'PIL', 'tqdm'}"
    script = f"""
import sys, numpy
import bitstill.data
print({heavy} & set(sys.modules))
bitstill.data.{parquet}.identity()
print('torch' in sys.modules)
"""
    assert run_python(script).splitlines() == ["set()", "False"]


def test_processes_decode_once(parquet: Parquet, tmp_path: Path) -> None:
    script = f"""
import os, pathlib, time
from bitstill.data import Parquet

here = pathlib.Path({str(tmp_path)!r})

decode = Parquet._decode
def slow(self, files):
    (here / "log").open('a').write('decoded ')
    time.sleep(0.5)
    return decode(self, files)

Parquet._decode = slow
(here / f"ready-{{os.getpid()}}").touch()
end = time.monotonic() + 30
while len(list(here.glob("ready-*"))) < 2:
    assert time.monotonic() < end
    time.sleep(0.01)
print({parquet}.identity())
"""
    command = [sys.executable, "-c", script]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for _ in range(2)
    ]
    printed = {process.communicate(timeout=60)[0] for process in both}
    assert printed == {f"{parquet.identity()}\n"}
    assert (tmp_path / "log").read_text() == "decoded "


def test_interrupted_decoding_leaves_no_entry(
    parquet: Parquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Parquet, files: Sequence[Path]) -> Decoded:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Parquet, "_decode", interrupt)
        with pytest.raises(KeyboardInterrupt):
            parquet.identity()
    assert not list(Path(parquet.cache).glob("*/"))
    assert len(parquet.load().train) == 6


def test_a_file_of_the_same_size_is_another(parquet: Parquet) -> None:
    parquet.identity()
    os.utime(next(Path(parquet.path).glob("train-*")), ns=(0, 0))
    parquet.identity()
    assert len(list(Path(parquet.cache).glob("parquet-*/meta.json"))) == 2


def test_another_cache_format_is_decoded_anew(
    parquet: Parquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet.identity()
    monkeypatch.setattr("bitstill.data.source.CACHE_FORMAT", 0)
    parquet.identity()
    assert len(list(Path(parquet.cache).glob("*/meta.json"))) == 2


def test_a_checksum_may_be_in_capitals(parquet: Parquet) -> None:
    found = parquet._content().facts["checksum"].upper()
    dataclasses.replace(parquet, checksum=found).identity()


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5])
def test_training_images_are_those_that_are_trained_on(parquet: Parquet, fraction: float) -> None:
    source = dataclasses.replace(parquet, val_fraction=fraction)
    assert source.training_images() == len(source.load().train)


def test_shape_and_type_are_part_of_the_checksum() -> None:
    a = np.arange(6, dtype=np.int64)
    assert len({_checksum({"a": one}) for one in (a, a.reshape(2, 3), a.view(np.uint64))}) == 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(ImageSource):
    """A source as a user would add it."""

    path: str
    invert: bool = False
    train: ClassVar[Part | None] = None  # in place of what it decodes otherwise

    def _locate(self) -> Sequence[Path]:
        return [Path(self.path)]

    def _decode(self, files: Sequence[Path]) -> Decoded:
        images = np.full((4, 32, 32, 3), 255 if self.invert else 0, np.uint8)
        part = Part(images, np.array([0, 1, 0, 1]))
        return Decoded(self.train or part, part, 2)


def test_an_option_of_a_source_of_ones_own_is_not_passed_over(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    plain = Own(path=str(tmp_path), **options)
    inverted = dataclasses.replace(plain, invert=True)
    assert plain.load().train.images.max() == 0
    assert inverted.load().train.images.min() == 255
    assert plain.identity() != inverted.identity()


FINE, LABELS = np.zeros((4, 32, 32, 3), np.uint8), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("images", "labels", "line"),
    [
        (FINE[:, :28, :28], LABELS, r"own has train images of uint8, \(4, 28, 28, 3\): give uint8"),
        (FINE / 255, LABELS, r"own has train images of float64, \(4, 32, 32, 3\): give uint8"),
        (FINE[:0], LABELS[:0], r"\(0, 32, 32, 3\): give uint8, \(N, 32, 32, 3\), N > 0"),
        (FINE, LABELS.astype(np.int32), r"with labels of int32, \(4,\): give int64, \(N,\)"),
        (FINE, LABELS[:3], r"with labels of int64, \(3,\): give int64, \(N,\)"),
        (FINE, LABELS + 1, r"with labels 1 to 2, and 2 classes: number the classes from 0"),
        (FINE, LABELS - 1, r"with labels -1 to 0, and 2 classes: number the classes from 0"),
    ],
)
def test_what_a_source_of_ones_own_decodes_is_checked(
    tmp_path: Path,
    options: dict[str, Any],
    images: NDArray[Any],
    labels: NDArray[Any],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Own, "train", Part(images, labels))
    with pytest.raises(UserError, match=line):
        Own(path=str(tmp_path), **options).identity()


@pytest.mark.parametrize(
    "change",
    [
        {"facts": {}},
        {"arrays": {}},
        {"facts": {"checksum": 3, "names": ["0"]}},
        {"facts": {"checksum": "c", "names": 3}},
        {"facts": {"checksum": "c", "names": ["0", "1"]}},
    ],
)
def test_an_entry_of_a_cache_that_fits_no_images_is_made_again(
    tmp_path: Path, change: dict[str, object]
) -> None:
    source = Digits(val_fraction=0.1, split_seed=0, cache=str(tmp_path))
    identity = source.identity()
    [meta] = tmp_path.glob("digits-*/meta.json")
    before = meta.read_text()
    meta.write_text(json.dumps(json.loads(before) | change))
    assert source.identity() == identity
    assert meta.read_text() == before


@pytest.mark.parametrize("labels", [np.full(1437, 10), np.full(1437, -1), np.zeros(10, np.int64)])
def test_labels_of_a_cache_that_are_none_are_made_again(tmp_path: Path, labels: np.ndarray) -> None:
    source = Digits(val_fraction=0, split_seed=0, cache=str(tmp_path))
    before = source.load().train.labels.tolist()
    [meta] = tmp_path.glob("digits-*/meta.json")
    noted = json.loads(meta.read_text())
    noted["arrays"]["train_labels"] = [labels.dtype.str, list(labels.shape)]
    meta.write_text(json.dumps(noted))
    np.save(meta.with_name("train_labels.npy"), labels)
    assert source.load().train.labels.tolist() == before


def test_a_split_of_a_cache_that_lacks_images_is_made_again(tmp_path: Path) -> None:
    source = Digits(val_fraction=0.1, split_seed=0, cache=str(tmp_path))
    before = len(source.load().val)
    [meta] = tmp_path.glob("split-*/meta.json")
    noted = json.loads(meta.read_text())
    for name in ("val_images", "val_labels"):
        file = meta.with_name(f"{name}.npy")
        fewer = np.load(file)[:-1]
        np.save(file, fewer)
        noted["arrays"][name] = [fewer.dtype.str, list(fewer.shape)]
    meta.write_text(json.dumps(noted))
    assert len(source.load().val) == before
