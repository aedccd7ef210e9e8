"""Runs that fail, are stopped and go on, in wandb."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import wandb
from tests.conftest import SMALL, Configure
from tests.wandb_files import epochs, files, overview, records
from torch import Tensor

from bitstill import train
from bitstill.loggers.wandb_files import unsent
from bitstill.loggers.wandb_run import _say_what_is_not_read, end
from bitstill.runs import RunPaths
from bitstill.runs.curves import read_curves
from bitstill.training.recorder import Recorder
from bitstill.training.tasks import DivergedError, StudentTask

pytestmark = pytest.mark.usefixtures("restored")

RunHere = Callable[..., RunPaths]


def lost(self: StudentTask, logits: Tensor, batch: object) -> Tensor:
    return logits.sum() * torch.nan


def stop_in(epoch: int) -> Callable[..., None]:
    recorded = Recorder.on_train_epoch_end

    def stop(self: Recorder, trainer: object, task: object) -> None:
        recorded(self, trainer, task)  # type: ignore[arg-type]
        if self.record.epoch == epoch:
            raise KeyboardInterrupt

    return stop


def test_a_failed_run_ends_in_wandb_too(
    run_here: RunHere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(StudentTask, "loss", lost)
    with pytest.raises(DivergedError, match="became nan"):
        run_here("logger=wandb")
    assert wandb.run is None
    [[file]] = files(tmp_path / "mine").values()
    assert overview(file)["exit_code"] == 1
    assert overview(file)["state"] == "failed"
    said = overview(file)["summary"]["error"]
    assert said.startswith("DivergedError: the training loss became nan in epoch 1: lower schedule")

    monkeypatch.undo()
    run_here("logger=wandb")
    [[_, file]] = files(tmp_path / "mine").values()
    assert overview(file)["summary"]["error"] == ""


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_the_same_run(
    run_here: RunHere, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_train_epoch_end", stop_in(2))
        with pytest.raises(KeyboardInterrupt):
            run_here("logger=[tensorboard,wandb]", "schedule.epochs=3")
    [[file]] = files(tmp_path / "mine").values()
    assert overview(file)["exit_code"] == 255
    assert epochs(file) == [1], "the second was recorded, and not logged any more"
    summary = overview(file)["summary"]
    assert summary["last/epoch"] == 1, "what it has come to is known before its end"
    assert summary["best_val/test_accuracy_precise"] == summary["test/accuracy_precise"]["last"]

    paths = run_here("logger=[tensorboard,wandb]", "schedule.epochs=3")
    [sittings] = files(tmp_path / "mine").values()
    assert [epochs(one) for one in sittings] == [[1], [2, 3]]
    assert overview(sittings[-1])["exit_code"] == 0
    rows = read_curves(paths)
    assert [row["epoch"] for row in rows] == [1, 2, 3], "metrics.csv has all of it"
    best = overview(sittings[-1])["summary"]["test/accuracy_precise"]["max"]
    assert best == max(row["test/accuracy_precise"] for row in rows), "of both sittings"


@pytest.mark.slow
def test_a_killed_run_is_one_run(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "bitstill", "train", *SMALL, "name=mine", "logger=wandb"),
        *("schedule.epochs=4", f"paths.output={tmp_path}"),
    ]
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603
    until = time.monotonic() + 120
    while time.monotonic() < until and len(list(tmp_path.glob("mine/*/previous.ckpt"))) == 0:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run(command, check=True, timeout=120)  # noqa: S603
    [sittings] = files(tmp_path / "mine").values()
    assert len(sittings) == 2
    assert [epoch for one in sittings for epoch in epochs(one)] == [1, 2, 3, 4]


@pytest.mark.slow
def test_loggers_change_no_result(run_here: RunHere, tmp_path: Path) -> None:
    plain = run_here("logger=csv")
    assert not (plain.directory / "tensorboard").exists()
    assert not (tmp_path / "mine" / "wandb").exists()
    metrics, weights = plain.metrics.read_bytes(), plain.weights.read_bytes()
    plain.record.unlink()
    plain.checkpoint.unlink()
    again = run_here("logger=[tensorboard,wandb]")
    assert again == plain, "a logger is not a part of a run's identity"
    assert again.metrics.read_bytes() == metrics
    assert again.weights.read_bytes() == weights
    assert (again.directory / "tensorboard").is_dir()
    assert len(files(tmp_path / "mine")) == 1


def test_a_logger_that_raises_stops_no_run(
    run_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    said: Callable[[], list[str]],
) -> None:
    def refuse(*values: object, **options: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(wandb.Run, "log", refuse)
    paths = run_here("logger=wandb", "schedule.epochs=2")
    assert len(read_curves(paths)) == 2
    assert said() == [
        "wandb bitstill: not written any more (no space left); the run goes on, and the same "
        "command, given again, logs what is missing"
    ]
    assert wandb.run is None, "the next run would go on in it"


def test_files_lie_beside_a_run_in_a_folder_of_ones_own(
    configure: Configure, tmp_path: Path
) -> None:
    """Where ``bitstill sync`` looks for them; and nothing under ``paths.output``."""
    config = configure(tmp_path / "output", "loss=hard", "logger=wandb", "schedule.epochs=1")
    train.run(config, tmp_path / "elsewhere" / "mine")
    assert len(files(tmp_path / "elsewhere")) == 1
    assert not (tmp_path / "output").exists()


@pytest.mark.slow
def test_a_student_of_two_sweeps_is_in_both_groups(configure: Configure, tmp_path: Path) -> None:
    """As one run of wandb, its group would change and its history double."""
    for name in ("one", "two"):
        given = ("loss=hard", "logger=wandb", "schedule.epochs=1", f"name={name}")
        train.run(configure(tmp_path, *given), tmp_path / name / "run")
    ids = [*files(tmp_path / "one"), *files(tmp_path / "two")]
    assert len({run_id.partition("-")[0] for run_id in ids}) == 1
    assert len(set(ids)) == 2


def test_the_environment_does_not_decide(
    run_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    said: Callable[[], list[str]],
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_TAGS", "from,outside")
    _say_what_is_not_read.cache_clear()
    wandb.teardown()  # it has read the environment when it began
    run_here("logger=wandb", "schedule.epochs=1")
    wandb.teardown()
    assert said() == ["WANDB_MODE is not read: give logger.wandb.mode"]
    [[file]] = files(tmp_path / "mine").values()
    [run] = [one["run"] for one in records(file) if one["type"] == "run"]
    assert run["tags"] == ["from", "outside"]


def test_disabled_writes_nothing(
    run_here: RunHere, tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    run_here("logger=wandb", "logger.wandb.mode=disabled")
    assert said() == []
    assert not list(tmp_path.rglob("*.wandb"))


def test_an_offline_run_that_has_ended_is_there_to_be_sent(tmp_path: Path) -> None:
    """wandb's service writes behind ``finish``: whoever counted at once would miss the last run."""
    file = tmp_path / "wandb" / "offline-run-1-a" / "run-a.wandb"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a header"[:7])
    service = threading.Timer(0.3, file.write_bytes, [b"a header, and data"])
    ending: Any = SimpleNamespace(
        settings=SimpleNamespace(sync_file=str(file)),
        offline=True,
        disabled=False,
        finish=lambda exit_code: service.start(),
    )
    end(ending, tmp_path, 0)
    assert unsent(tmp_path) == {"a": [file]}
    service.join()
