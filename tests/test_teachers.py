"""The teacher store."""

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

from bitstill.runs import RunPaths, RunRecord
from bitstill.teachers import TeacherStore

IDENTITY = "0123456789abcdef"

# What one of several processes does: they begin together, and each training leaves a line.
PROCESS = """
import sys, time
from pathlib import Path
import torch
from bitstill.runs import RunPaths, RunRecord
from bitstill.teachers import TeacherStore

folder, name, identity = Path(sys.argv[1]), sys.argv[2], "0123456789abcdef"

def train(directory):
    with (folder / "trained").open("a") as file:
        file.write(name + "\\n")
    directory.mkdir(parents=True, exist_ok=True)
    time.sleep(0.5)
    RunRecord(
        status="done", identity=identity, model="teacher", loss="hard", temperature=None, seed=0,
        epoch=1, epochs=1, config={}, data_identity="", teacher_identity=None,
    ).write(RunPaths(directory))

def compute():
    with (folder / "computed").open("a") as file:
        file.write(name + "\\n")
    time.sleep(0.2)
    return torch.ones(2, 3)

(folder / f"ready-{name}").touch()
while len(list(folder.glob("ready-*"))) < 2:
    time.sleep(0.01)
store = TeacherStore(folder / "teachers")
assert (store.obtain(identity, train).directory / "run.json").exists()
assert store.logits(identity, compute).sum() == 6
"""


def finish(directory: Path, identity: str = IDENTITY) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    RunRecord(
        status="done",
        identity=identity,
        model="teacher",
        loss="hard",
        temperature=None,
        seed=0,
        epoch=1,
        epochs=1,
        config={},
        data_identity="",
        teacher_identity=None,
    ).write(RunPaths(directory))


def refuse(*arguments: object) -> NoReturn:
    raise AssertionError("called")


@pytest.mark.slow
def test_of_two_processes_one_trains(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", PROCESS, str(tmp_path), name], stderr=subprocess.PIPE, text=True
        )
        for name in ("a", "b")
    ]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert len((tmp_path / "trained").read_text().split()) == 1
    assert len((tmp_path / "computed").read_text().split()) == 1


def test_a_finished_teacher_is_handed_out(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path / "teachers")
    paths = store.obtain(IDENTITY, finish)
    assert paths == store.paths(IDENTITY)
    assert paths.directory == tmp_path / "teachers" / IDENTITY
    assert store.obtain(IDENTITY, refuse) == paths


def test_another_identity_is_another_teacher(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    store.obtain(IDENTITY, finish)
    with pytest.raises(AssertionError, match="called"):
        store.obtain("f" * 16, refuse)


def test_a_teacher_whose_training_failed_is_trained_by_the_next(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    with pytest.raises(AssertionError, match="called"):
        store.obtain(IDENTITY, refuse)
    store.obtain(IDENTITY, finish)
    assert store.paths(IDENTITY).record.exists()


def test_who_waits_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store, begun, may_end = TeacherStore(tmp_path), threading.Event(), threading.Event()

    def slow(directory: Path) -> None:
        begun.set()
        assert may_end.wait(10)
        finish(directory)

    first = threading.Thread(target=store.obtain, args=(IDENTITY, slow))
    second = threading.Thread(target=store.obtain, args=(IDENTITY, refuse))
    first.start()
    assert begun.wait(10)
    second.start()
    ends = time.monotonic() + 10
    while "waiting for teacher 0123456789" not in caplog.text and time.monotonic() < ends:
        time.sleep(0.01)
    may_end.set()
    first.join(10)
    second.join(10)
    assert "waiting for teacher 0123456789" in caplog.text


def test_logits_are_computed_once(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    store.obtain(IDENTITY, finish)
    logits = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(store.logits(IDENTITY, lambda: logits), logits)
    found = store.logits(IDENTITY, refuse)
    assert torch.equal(found, logits)
    assert found.dtype == torch.float32
    assert [path.name for path in store.paths(IDENTITY).directory.glob("*.npy")] == [
        "train_logits.npy"
    ]


def test_failed_logits_are_computed_again(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    store.obtain(IDENTITY, finish)
    with pytest.raises(AssertionError, match="called"):
        store.logits(IDENTITY, refuse)
    assert store.logits(IDENTITY, lambda: torch.ones(1, 2)).shape == (1, 2)


def test_no_write_reaches_the_stored_logits(tmp_path: Path) -> None:
    store = TeacherStore(tmp_path)
    store.obtain(IDENTITY, finish)
    store.logits(IDENTITY, lambda: torch.zeros(2, 3)).fill_(7)
    assert not np.load(store.paths(IDENTITY).teacher_logits).any()
