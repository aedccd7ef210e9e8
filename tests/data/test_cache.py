import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitstill.data.cache import Entry, cached
from bitstill.errors import UserError


class Maker:
    """Makes an entry and counts how often."""

    calls = 0

    def __call__(self) -> Entry:
        self.calls += 1
        return Entry({"a": np.arange(12, dtype=np.int64).reshape(3, 4), "b": np.zeros((0, 2))}, {})


def truncate(folder: Path) -> None:
    (folder / "a.npy").write_bytes((folder / "a.npy").read_bytes()[:-1])


def empty(folder: Path) -> None:
    (folder / "a.npy").write_bytes(b"")


def remove(folder: Path) -> None:
    (folder / "a.npy").unlink()


def replace_by_other_shape(folder: Path) -> None:
    np.save(folder / "a.npy", np.zeros(12, np.int64))


def replace_by_other_type(folder: Path) -> None:
    np.save(folder / "a.npy", np.zeros((3, 4), np.float64))


def garble_array(folder: Path) -> None:
    (folder / "a.npy").write_bytes(b"PK\x03\x04" + bytes(300))


def garble_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("{", encoding="utf-8")


def binary_meta(folder: Path) -> None:
    (folder / "meta.json").write_bytes(b"\xff\xfe\xfd")


def foreign_meta(folder: Path) -> None:
    (folder / "meta.json").write_text(json.dumps(["arrays"]), encoding="utf-8")


def incomplete_meta(folder: Path) -> None:
    (folder / "meta.json").write_text(json.dumps({"arrays": {}}), encoding="utf-8")


def test_made_once_and_mapped(tmp_path: Path) -> None:
    make = Maker()
    for _ in range(2):
        entry = cached(tmp_path / "new" / "folder", "key", make)
        assert isinstance(entry.arrays["a"], np.memmap)
        assert np.array_equal(entry.arrays["a"], make().arrays["a"])
        assert entry.arrays["b"].shape == (0, 2)
        make.calls -= 1  # the comparison's own
    assert make.calls == 1


def test_writing_to_the_arrays_does_not_reach_the_file(tmp_path: Path) -> None:
    make = Maker()
    cached(tmp_path, "key", make).arrays["a"][:] = 7
    assert np.array_equal(cached(tmp_path, "key", make).arrays["a"], make().arrays["a"])


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        empty,
        remove,
        replace_by_other_shape,
        replace_by_other_type,
        garble_array,
        garble_meta,
        binary_meta,
        foreign_meta,
        incomplete_meta,
    ],
)
def test_damaged_entry_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    make = Maker()
    cached(tmp_path, "key", make)
    damage(tmp_path / "key")
    entry = cached(tmp_path, "key", make)
    assert make.calls == 2
    assert np.array_equal(entry.arrays["a"], make().arrays["a"])


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE])
def test_a_sound_entry_is_not_made_again_for_want_of_memory_or_handles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def scarce(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    make = Maker()
    cached(tmp_path, "key", make)
    with monkeypatch.context() as patched:
        patched.setattr(np.lib.format, "open_memmap", scarce)
        with pytest.raises(
            UserError, match=rf"^\S+key cannot be opened \({os.strerror(number)}\): "
        ):
            cached(tmp_path, "key", make)
    cached(tmp_path, "key", make)
    assert make.calls == 1


def test_leftovers_of_a_killed_process_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "key.partial").mkdir()
    (tmp_path / "key.partial" / "a.npy").write_bytes(b"half")
    cached(tmp_path, "key", Maker())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.lock"]


def test_an_entry_of_another_node_that_comes_to_be_seen_late_stays(tmp_path: Path) -> None:
    """On a network's disk; whoever has mapped it would lose its pages with it."""
    there = tmp_path / "key"

    def late() -> Entry:
        cached(tmp_path / "node", "key", Maker())
        (tmp_path / "node" / "key").rename(there)
        (there / "mark").touch()
        return Maker()()

    cached(tmp_path, "key", late)
    assert (there / "mark").exists()
    assert not (tmp_path / "key.partial").exists()


def test_failing_maker_leaves_nothing_and_no_lock(tmp_path: Path) -> None:
    def fail() -> Entry:
        raise UserError("no such images")

    with pytest.raises(UserError, match=r"^no such images$"):
        cached(tmp_path, "key", fail)
    cached(tmp_path, "key", Maker())


def test_full_disk_leaves_no_half_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        with pytest.raises(UserError, match=r"^paths.cache=\S+ cannot be written \(No space left"):
            cached(tmp_path, "key", Maker())
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cached("~/cache", "key", Maker())
    assert (tmp_path / "cache" / "key" / "meta.json").is_file()


def test_cache_that_is_no_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^paths.cache=\S+/file cannot be written .*set paths.cac"):
        cached(tmp_path / "file", "key", Maker())


def test_files_are_flushed_before_their_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, fsync = [], os.fsync

    def flush(handle: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        assert not (tmp_path / "key").exists()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", flush)
    cached(tmp_path, "key", Maker())
    assert set(flushed) == {"a.npy", "b.npy", "meta.json"}


def test_an_entry_that_is_another_is_made_again(tmp_path: Path) -> None:
    """The folder may be one that others write to."""
    make = Maker()

    def check(entry: Entry) -> None:
        if entry.arrays["a"].max() > 11:
            raise UserError("it is another")

    cached(tmp_path, "key", make, check)
    np.save(tmp_path / "key" / "a.npy", np.full((3, 4), 12, np.int64))
    assert cached(tmp_path, "key", make, check).arrays["a"].max() == 11
    assert make.calls == 2


def test_without_a_home_a_folder_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a user whom a container does not know."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(UserError, match=r"^paths\.cache=~/cache is in a home folder, and there is"):
        cached("~/cache", "key", Maker())
    assert cached(tmp_path, "key", Maker()).arrays
