"""Checkpoints: whole or not at all, checked, and one behind."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import Configure
from torch import Tensor

import bitstill.train
from bitstill.runs import RunPaths
from bitstill.training.checkpoints import AtomicCheckpointIO, newest_checkpoint, rotate_checkpoint
from bitstill.training.recorder import Recorder

Damage = Callable[[bytes], bytes]


def made(number: int) -> dict[str, Any]:
    """What Lightning and the recorder put into a checkpoint, small."""
    row = {"epoch": float(number), "train/loss": 0.1 + 0.2}
    return {
        "epoch": number,
        "state_dict": {"weight": torch.full((3, 4), number + 0.1), "steps": torch.tensor(number)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": []}],
        "callbacks": {"Recorder": {"identity": "a" * 64, "rows": [row], "seconds": 1.5}},
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    return bool(one == other) and type(one) is type(other)


def save(paths: RunPaths, number: int) -> None:
    """Do what the recorder does after an epoch."""
    rotate_checkpoint(paths)
    AtomicCheckpointIO().save_checkpoint(made(number), paths.checkpoint)


def loaded(path: Path | None) -> dict[str, Any]:
    assert path is not None
    return AtomicCheckpointIO().load_checkpoint(path)


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    """A run after two epochs."""
    found = RunPaths(tmp_path)
    for number in (1, 2):
        save(found, number)
    return found


def test_a_checkpoint_reads_back(paths: RunPaths) -> None:
    assert same(loaded(paths.checkpoint), made(2))


def test_a_checkpoint_is_a_plain_one_of_torchs(paths: RunPaths) -> None:
    assert same(torch.load(paths.checkpoint, weights_only=True), made(2))


def test_the_newest_is_gone_on_from_and_the_one_before_it_is_kept(
    paths: RunPaths, caplog: pytest.LogCaptureFixture
) -> None:
    save(paths, 3)
    assert newest_checkpoint(paths) == paths.checkpoint
    assert same(loaded(paths.checkpoint), made(3))
    assert same(loaded(paths.previous_checkpoint), made(2))
    assert {path.name for path in paths.directory.iterdir()} == {"last.ckpt", "previous.ckpt"}
    assert not caplog.records


def test_without_any_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert newest_checkpoint(RunPaths(tmp_path)) is None
    assert not caplog.records


def test_between_two_checkpoints_there_is_the_one_before(paths: RunPaths) -> None:
    """Killed after the old one was moved, before the new one was there."""
    rotate_checkpoint(paths)
    assert not paths.checkpoint.exists()
    assert same(loaded(newest_checkpoint(paths)), made(2))


def test_making_room_for_the_first_moves_nothing(tmp_path: Path) -> None:
    rotate_checkpoint(RunPaths(tmp_path))
    assert not list(tmp_path.iterdir())


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_anywhere_is_found(paths: RunPaths, place: float, bit: int) -> None:
    whole = paths.checkpoint.read_bytes()
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= 1 << bit
    before = paths.previous_checkpoint.read_bytes()
    try:
        paths.checkpoint.write_bytes(damaged)
        assert newest_checkpoint(paths) == paths.checkpoint
        assert paths.checkpoint.read_bytes() == before
    finally:
        paths.checkpoint.write_bytes(whole)
        paths.previous_checkpoint.write_bytes(before)


def test_a_changed_number_is_found(paths: RunPaths) -> None:
    content = bytearray(paths.checkpoint.read_bytes())
    number = torch.tensor(2.1).numpy().tobytes()
    assert content.count(number * 12) == 1
    content[content.index(number * 12) + 3] ^= 1  # 2.1 becomes -2.1, or so
    paths.checkpoint.write_bytes(content)
    assert not same(loaded(paths.checkpoint), made(2)), "torch has begun to check: good"
    assert newest_checkpoint(paths) == paths.checkpoint
    assert same(loaded(paths.checkpoint), made(1))


DAMAGES: dict[str, Damage] = {
    "empty": lambda content: b"",
    "a byte": lambda content: content[:1],
    "half": lambda content: content[: len(content) // 2],
    "all but one": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "another file": lambda content: b"epoch,train/loss\n1,0.5\n",
    "a sealed piece": lambda content: content[64:],
    "a hole": lambda content: content[:512] + bytes(256) + content[768:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_warned_of_and_the_one_before_it_taken(
    paths: RunPaths, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    paths.checkpoint.write_bytes(DAMAGES[damage](paths.checkpoint.read_bytes()))
    assert same(loaded(newest_checkpoint(paths)), made(1))
    [warning] = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage().startswith(f"{paths.checkpoint} is damaged (")
    assert warning.getMessage().endswith("): trying the one before")
    assert "\n" not in warning.getMessage()


def test_a_damaged_one_is_not_kept_in_the_place_of_a_whole_one(paths: RunPaths) -> None:
    paths.checkpoint.write_bytes(b"damaged")
    newest_checkpoint(paths)
    rotate_checkpoint(paths)  # and then the process dies
    assert same(loaded(newest_checkpoint(paths)), made(1))


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_whole_one_there_is_none(
    paths: RunPaths, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (paths.checkpoint, paths.previous_checkpoint):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert newest_checkpoint(paths) is None
    newest, previous = (record.getMessage() for record in caplog.records)
    assert newest.startswith(f"{paths.checkpoint} is damaged (")
    assert newest.endswith("): trying the one before")
    assert previous.startswith(f"{paths.previous_checkpoint} is damaged (")
    assert previous.endswith("): starting over")


def test_a_damaged_one_without_another_is_said_to_be_the_only_one(
    paths: RunPaths, caplog: pytest.LogCaptureFixture
) -> None:
    paths.previous_checkpoint.unlink()
    paths.checkpoint.write_bytes(b"damaged")
    assert newest_checkpoint(paths) is None
    [warning] = caplog.records
    assert warning.getMessage().endswith("): starting over")


@pytest.mark.slow
@pytest.mark.usefixtures("restored")
def test_a_run_that_is_done_keeps_its_last_checkpoint_alone(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, paths = configure(tmp_path, "schedule.epochs=2"), RunPaths(tmp_path / "run")
    had, finish = [], Recorder.finish

    def finishing(self: Recorder, *arguments: Any) -> Any:
        had.append(paths.previous_checkpoint.exists())
        return finish(self, *arguments)

    monkeypatch.setattr(Recorder, "finish", finishing)
    bitstill.train.run(config, paths.directory)
    assert had == [True]
    assert not paths.previous_checkpoint.exists()
    checkpoint = loaded(paths.checkpoint)
    [state] = [one for key, one in checkpoint["callbacks"].items() if "Recorder" in key]
    assert [row["epoch"] for row in state["rows"]] == [1, 2]


def test_a_checkpoint_is_read_onto_the_cpu(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, load = [], torch.load

    def loading(*arguments: Any, **options: Any) -> Any:
        asked.append(options["map_location"])
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", loading)
    loaded(paths.checkpoint)
    assert asked == ["cpu"]
