"""The teacher store."""

import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors.torch import load_file, save
from tests.conftest import made_up

from bitstill.errors import UserError
from bitstill.runs import RunPaths
from bitstill.training.teachers import stored_logits, verify

IDENTITY = "0123456789abcdef"
# sha256sum's of "abcdef".
ABCDEF = "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721"

# What one of several processes does: they begin together, and each computation leaves a line.
PROCESS = """
import sys, time
from pathlib import Path
import torch
from bitstill.runs import RunPaths
from bitstill.training.teachers import stored_logits

folder, name = Path(sys.argv[1]), sys.argv[2]

def compute():
    with (folder / "computed").open("a") as file:
        file.write(name + "\\n")
    time.sleep(0.3)
    return torch.ones(2, 3)

(folder / f"ready-{name}").touch()
end = time.monotonic() + 60
while len(list(folder.glob("ready-*"))) < 2:
    assert time.monotonic() < end
    time.sleep(0.01)
assert stored_logits(RunPaths(folder / "teacher"), compute).sum() == 6
"""


def refuse(*arguments: object) -> NoReturn:
    raise AssertionError("called")


@pytest.fixture
def stored(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path / "teachers" / IDENTITY)


@pytest.fixture
def finished(stored: RunPaths) -> RunPaths:
    """Write a teacher of six bytes of weights."""
    stored.directory.mkdir(parents=True)
    stored.weights.write_bytes(b"abcdef")
    made_up(identity=IDENTITY, checksums={"weights.safetensors": ABCDEF}).write(stored)
    return stored


def test_weights_are_what_training_wrote(finished: RunPaths) -> None:
    verify(finished)


def test_altered_weights_are_refused(finished: RunPaths) -> None:
    finished.weights.write_bytes(b"abcdeg")
    with pytest.raises(UserError) as caught:
        verify(finished)
    line = str(caught.value)
    assert line.startswith(
        f"{finished.weights} has changed since its teacher was trained (SHA-256 "
    )
    assert "expected bef57ec7f53a)" in line
    assert line.endswith("remove its folder, and the teacher is trained again")
    assert "\n" not in line


def test_weights_without_a_checksum_are_refused(finished: RunPaths) -> None:
    made_up(identity=IDENTITY).write(finished)
    with pytest.raises(UserError, match="expected None"):
        verify(finished)


def test_weights_that_are_gone_are_named(finished: RunPaths) -> None:
    finished.weights.unlink()
    with pytest.raises(UserError) as caught:
        verify(finished)
    assert str(caught.value) == (
        f"{finished.weights} is missing: remove its folder, and the teacher is trained again"
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


def test_logits_are_computed_once(stored: RunPaths) -> None:
    logits = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(stored_logits(stored, lambda: logits), logits)
    found = stored_logits(stored, refuse)
    assert torch.equal(found, logits)
    assert found.dtype == torch.float32
    assert torch.equal(load_file(stored.teacher_logits)["logits"], logits)


def test_logits_are_stored_in_the_order_of_the_images(stored: RunPaths) -> None:
    """Whatever their strides: the file and its checksum are of rows."""
    logits = torch.arange(6.0).reshape(3, 2).T
    assert torch.equal(stored_logits(stored, lambda: logits), logits)
    assert torch.equal(stored_logits(stored, refuse), logits)


def test_logits_of_another_teacher_are_others(stored: RunPaths) -> None:
    stored_logits(stored, lambda: torch.ones(1, 2))
    with pytest.raises(AssertionError, match="called"):
        stored_logits(RunPaths(stored.directory.parent / ("f" * 16)), refuse)


def test_failed_logits_are_computed_again(stored: RunPaths) -> None:
    with pytest.raises(AssertionError, match="called"):
        stored_logits(stored, refuse)
    assert stored_logits(stored, lambda: torch.ones(1, 2)).shape == (1, 2)


def test_no_write_reaches_the_stored_logits(stored: RunPaths) -> None:
    stored_logits(stored, lambda: torch.zeros(2, 3)).fill_(7)
    stored_logits(stored, refuse).fill_(7)
    assert not stored_logits(stored, refuse).any()


@pytest.mark.parametrize("position", [0, 5, 20, -24, -1])
def test_altered_logits_are_refused(stored: RunPaths, position: int) -> None:
    """One bit: of the header's length, of the header, of the first number, of the last."""
    stored_logits(stored, lambda: torch.arange(6.0).reshape(2, 3))
    path = stored.teacher_logits
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        stored_logits(stored, refuse)
    line = str(caught.value)
    assert str(path) in line
    assert "remove its folder" in line
    assert "\n" not in line


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_logits_that_were_cut_off_are_refused(stored: RunPaths, length: int) -> None:
    stored_logits(stored, lambda: torch.arange(6.0).reshape(2, 3))
    path = stored.teacher_logits
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="remove its folder"):
        stored_logits(stored, refuse)


@pytest.mark.parametrize(
    "content",
    [save({"logits": torch.zeros(2, 3)}), save({"logits": torch.zeros(2, 3).bfloat16()})],
    ids=["no checksum", "bf16"],
)
def test_logits_of_another_program_are_refused(stored: RunPaths, content: bytes) -> None:
    stored.directory.mkdir(parents=True)
    stored.teacher_logits.write_bytes(content)
    with pytest.raises(UserError, match="remove its folder"):
        stored_logits(stored, refuse)


@pytest.mark.parametrize("error", [MemoryError("os error 12"), PermissionError("os error 13")])
def test_logits_that_cannot_be_opened_now_are_not_to_be_removed(
    stored: RunPaths, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    stored_logits(stored, lambda: torch.zeros(2, 3))
    monkeypatch.setattr("bitstill.training.teachers.safe_open", fail)
    with pytest.raises(type(error), match="os error"):
        stored_logits(stored, refuse)
