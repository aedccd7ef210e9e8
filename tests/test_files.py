"""Files that are found whole, or as they were."""

import errno
import os
from pathlib import Path

import pytest

from bitstill.files import write_atomically


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")

    def stop(*arguments: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(os, function, stop)
        with pytest.raises(Interrupted):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path], "a temporary file is left"


def test_a_full_disk_is_said_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "last.ckpt"
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        write_atomically(path, b"x")
    assert not list(tmp_path.iterdir())


def test_a_write_replaces_the_content(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for content in (b"old and long", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_write_respects_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    path = tmp_path / "run.json"
    before = os.umask(mask)
    try:
        write_atomically(path, b"x")
        assert os.umask(mask) == mask, "the umask itself has changed"
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode
