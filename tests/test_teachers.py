"""The teacher store."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors.torch import load_file

from bitstill.errors import UserError
from bitstill.runs import RunPaths, RunRecord
from bitstill.teachers import TeacherStore

IDENTITY = "0123456789abcdef"

# What one of several processes does: they begin together, and each computation leaves a line.
PROCESS = """
import sys, time
from pathlib import Path
import torch
from bitstill.teachers import TeacherStore

folder, name = Path(sys.argv[1]), sys.argv[2]

def compute():
    with (folder / "computed").open("a") as file:
        file.write(name + "\\n")
    time.sleep(0.3)
    return torch.ones(2, 3)

(folder / f"ready-{name}").touch()
while len(list(folder.glob("ready-*"))) < 2:
    time.sleep(0.01)
assert TeacherStore(folder / "teachers").logits("0123456789abcdef", compute).sum() == 6
"""


def refuse(*arguments: object) -> NoReturn:
    raise AssertionError("called")


@pytest.fixture
def store(tmp_path: Path) -> TeacherStore:
    return TeacherStore(tmp_path / "teachers")


def finished(store: TeacherStore, made_up: Callable[..., RunRecord], checksum: str) -> RunPaths:
    """Write a teacher of six bytes of weights."""
    paths = store.paths(IDENTITY)
    paths.directory.mkdir(parents=True)
    paths.weights.write_bytes(b"abcdef")
    made_up(identity=IDENTITY, checksums={"weights.safetensors": checksum}).write(paths)
    return paths


# sha256sum's of "abcdef".
ABCDEF = "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721"


def test_a_teacher_lies_under_its_identity(store: TeacherStore) -> None:
    assert store.paths(IDENTITY) == RunPaths(store.root / IDENTITY)


def test_weights_are_what_training_wrote(
    store: TeacherStore, made_up: Callable[..., RunRecord]
) -> None:
    finished(store, made_up, ABCDEF)
    store.verify(IDENTITY)


def test_altered_weights_are_refused(
    store: TeacherStore, made_up: Callable[..., RunRecord]
) -> None:
    paths = finished(store, made_up, ABCDEF)
    paths.weights.write_bytes(b"abcdeg")
    with pytest.raises(UserError) as caught:
        store.verify(IDENTITY)
    line = str(caught.value)
    assert line.startswith(f"{paths.weights} has changed since its teacher was trained (SHA-256 ")
    assert "expected bef57ec7f53a)" in line
    assert line.endswith("remove its folder, and the teacher is trained again")
    assert "\n" not in line


def test_weights_without_a_checksum_are_refused(
    store: TeacherStore, made_up: Callable[..., RunRecord]
) -> None:
    paths = finished(store, made_up, ABCDEF)
    made_up(identity=IDENTITY).write(paths)
    with pytest.raises(UserError, match="expected None"):
        store.verify(IDENTITY)


def test_weights_that_are_gone_are_named(
    store: TeacherStore, made_up: Callable[..., RunRecord]
) -> None:
    paths = finished(store, made_up, ABCDEF)
    paths.weights.unlink()
    with pytest.raises(UserError) as caught:
        store.verify(IDENTITY)
    assert str(caught.value) == (
        f"{paths.weights} is missing: remove its folder, and the teacher is trained again"
    )


@pytest.mark.slow
def test_of_two_processes_one_computes_the_logits(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", PROCESS, str(tmp_path), name], stderr=subprocess.PIPE, text=True
        )
        for name in ("a", "b")
    ]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert len((tmp_path / "computed").read_text().split()) == 1


def test_logits_are_computed_once(store: TeacherStore) -> None:
    logits = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(store.logits(IDENTITY, lambda: logits), logits)
    found = store.logits(IDENTITY, refuse)
    assert torch.equal(found, logits)
    assert found.dtype == torch.float32
    assert torch.equal(load_file(store.paths(IDENTITY).teacher_logits)["logits"], logits)


def test_logits_are_stored_in_the_order_of_the_images(store: TeacherStore) -> None:
    """Whatever their strides: the file and its checksum are of rows."""
    logits = torch.arange(6.0).reshape(3, 2).T
    assert torch.equal(store.logits(IDENTITY, lambda: logits), logits)
    assert torch.equal(store.logits(IDENTITY, refuse), logits)


def test_logits_of_another_teacher_are_others(store: TeacherStore) -> None:
    store.logits(IDENTITY, lambda: torch.ones(1, 2))
    with pytest.raises(AssertionError, match="called"):
        store.logits("f" * 16, refuse)


def test_failed_logits_are_computed_again(store: TeacherStore) -> None:
    with pytest.raises(AssertionError, match="called"):
        store.logits(IDENTITY, refuse)
    assert store.logits(IDENTITY, lambda: torch.ones(1, 2)).shape == (1, 2)


def test_no_write_reaches_the_stored_logits(store: TeacherStore) -> None:
    store.logits(IDENTITY, lambda: torch.zeros(2, 3)).fill_(7)
    store.logits(IDENTITY, refuse).fill_(7)
    assert not store.logits(IDENTITY, refuse).any()


@pytest.mark.parametrize("position", [0, 5, 20, -24, -1])
def test_altered_logits_are_refused(store: TeacherStore, position: int) -> None:
    """One bit: of the header's length, of the header, of the first number, of the last."""
    store.logits(IDENTITY, lambda: torch.arange(6.0).reshape(2, 3))
    path = store.paths(IDENTITY).teacher_logits
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        store.logits(IDENTITY, refuse)
    line = str(caught.value)
    assert str(path) in line
    assert "remove its folder" in line
    assert "\n" not in line


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_logits_that_were_cut_off_are_refused(store: TeacherStore, length: int) -> None:
    store.logits(IDENTITY, lambda: torch.arange(6.0).reshape(2, 3))
    path = store.paths(IDENTITY).teacher_logits
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="remove its folder"):
        store.logits(IDENTITY, refuse)
