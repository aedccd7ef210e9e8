"""Full disks, read-only folders and too little memory, where no training is needed to meet them."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.conftest import SMALL, read_only

import bitstill.train
from bitstill.runs import RunPaths

Refused = Callable[..., str]


@pytest.fixture
def full(place: Path) -> Iterator[Path]:
    """A disk of 16 KiB, all of it taken."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = place / "output" / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)  # noqa: S603
    try:
        (folder / "precious").write_bytes(b"mine" * 1024)
        for name in ("a", "b", "c"):
            (folder / name).write_bytes(bytes(4096))
        yield folder
        assert (folder / "precious").read_bytes() == b"mine" * 1024
        written = {
            path.name for path in folder.rglob("*") if path.is_file() and path.stat().st_size
        }
        assert written == {"a", "b", "c", "precious"}, "half a file is left"
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


def test_an_export_on_a_full_disk(refused: Refused, run: RunPaths, full: Path) -> None:
    line = refused("export", str(run.directory), "--output", str(full / "student.bitstill"))
    assert "cannot be written (No space left on device): give --output" in line


def test_images_on_a_full_disk(refused: Refused, full: Path) -> None:
    line = refused("train", *SMALL, "paths.output=output", f"paths.cache={full}")
    assert "paths.cache" in line
    assert "No space left on device" in line


def test_a_run_on_a_full_disk(refused: Refused, full: Path) -> None:
    line = refused("train", *SMALL, f"paths.output={full}")
    assert "No space left on device" in line
    assert line.endswith("mend that, and run the same command again")


def test_an_export_into_a_folder_that_is_read_only(refused: Refused, run: RunPaths) -> None:
    with read_only(run.directory):
        line = refused("export", str(run.directory))
    assert "cannot be written" in line
    assert "give --output" in line


@pytest.mark.parametrize("kind", ["python", "torch", "gpu"])
def test_too_little_memory(refused: Refused, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def greedy(*arguments: object, **options: object) -> None:
        if kind == "python":
            bytearray(2**62)
        if kind == "gpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        torch.empty(2**50)

    monkeypatch.setattr(bitstill.train, "run", greedy)
    line = refused("train", *SMALL, "paths.output=output")
    assert line.startswith("out of memory (")
    assert "schedule.batch_size" in line


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_too_few_processes(refused: Refused, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """As where a container or a login node limits them: root is not limited by ``ulimit -u``."""

    def refuse(*arguments: object, **options: object) -> None:
        if kind == "process":
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(bitstill.train, "run", refuse)
    line = refused("train", *SMALL, "paths.output=output")
    assert line.startswith("no more processes and threads are allowed (")
    assert line.endswith("see ulimit -u")
