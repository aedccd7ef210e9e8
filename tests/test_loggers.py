"""The loggers beside metrics.csv."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import wandb
from pytorch_lightning.loggers import WandbLogger
from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped]
from torch import Tensor

from bitstill import runs, train
from bitstill.curves import read_curves
from bitstill.identity import directory_name
from bitstill.identity import identity as identity_of
from bitstill.loggers import build_loggers
from bitstill.runs import RunPaths
from bitstill.schema import TrainConfig
from bitstill.tasks import StudentTask

Configure = Callable[..., TrainConfig]

pytestmark = pytest.mark.usefixtures("restored")

FILES = {
    "best_val.safetensors",
    "correctness.npz",
    "last.ckpt",
    "metrics.csv",
    "run.json",
    "run.lock",
    "student.bitstill",
    "weights.safetensors",
}


@pytest.fixture
def run_here(configure: Configure, tmp_path: Path) -> Callable[..., RunPaths]:
    def run(*overrides: str) -> RunPaths:
        config = configure(tmp_path, "loss=gt_soft_hard", "name=mine", *overrides)
        identity = identity_of(config, config.data.identity())
        paths = RunPaths(tmp_path / "mine" / directory_name(config, identity))
        train.run(config, paths.directory)
        return paths

    return run


def test_csv_is_nothing_extra(
    configure: Configure, tmp_path: Path, run_here: Callable[..., RunPaths]
) -> None:
    assert build_loggers(configure(None, "logger=csv"), tmp_path, "i" * 64) == []
    paths = run_here("logger=csv")
    assert {path.name for path in paths.directory.iterdir()} == FILES
    assert [path for path in tmp_path.iterdir() if path.name != "mine"] == []


@pytest.mark.slow
def test_tensorboard_holds_the_curves(run_here: Callable[..., RunPaths]) -> None:
    paths = run_here("logger=tensorboard", "schedule.epochs=2", "data.val_fraction=0.01")
    assert {path.name for path in paths.directory.iterdir()} == FILES | {"tensorboard"}
    events = event_accumulator.EventAccumulator(str(paths.directory / "tensorboard"))
    events.Reload()
    curves = read_curves(paths)
    names = set(curves[0]) - {"epoch"}
    assert {"train/loss", "test/accuracy_precise", "learning_rate", "soft_weight"} <= names
    assert set(events.Tags()["scalars"]) - {"epoch"} == names
    for name in names:
        logged = [event.value for event in events.Scalars(name)]
        assert logged == pytest.approx([row[name] for row in curves], rel=1e-6), name


def offline(folder: Path) -> dict[str, Path]:
    """Return wandb's offline runs in a folder, by their ids."""
    found = list((folder / "wandb").glob("offline-run-*"))
    return {path.name.rpartition("-")[2]: path for path in found}


def logged(folder: Path, texts: list[str]) -> None:
    """Assert that wandb wrote texts; protocol buffers hold them as they are."""
    ends = time.monotonic() + 10  # it writes in a process of its own
    while True:
        content = next(folder.glob("*.wandb")).read_bytes()
        missing = [text for text in texts if text.encode() not in content]
        if not missing or time.monotonic() > ends:
            break
        time.sleep(0.1)
    assert not missing


@pytest.mark.slow
def test_wandb_has_a_run_of_each_run(run_here: Callable[..., RunPaths], tmp_path: Path) -> None:
    written = [run_here("logger=wandb", f"seed={seed}") for seed in (0, 1)]
    found = offline(tmp_path / "mine")
    for paths in written:
        record = runs.read_record(paths)
        assert record is not None
        folder = found.pop(record.identity[:32])
        name = paths.directory.name
        logged(folder, [name, "mine", "gt_soft_hard", "bitstill", "test/accuracy"])
        assert {path.name for path in paths.directory.iterdir()} == FILES
    assert not found, "more runs than were run"
    assert wandb.run is None, "the last run has not ended"
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}


def test_wandb_is_told_group_and_job_type(configure: Configure, tmp_path: Path) -> None:
    for override, job_type in (("loss=soft", "soft"), ("model=teacher", "teacher")):
        config = configure(
            tmp_path,
            "logger=wandb",
            "name=mine",
            "logger.wandb.tags=[a,b]",
            "logger.wandb.project=p",
            "logger.wandb.mode=disabled",
            override,
        )
        [logger] = build_loggers(config, tmp_path / "mine" / "run", "i" * 64)
        assert isinstance(logger, WandbLogger)
        run = logger.experiment
        assert run.group == "mine"
        assert run.job_type == job_type
        assert run.id == "i" * 32
        assert run.project == "p"
        assert list(run.tags) == ["a", "b"]
        run.finish()


def test_a_failed_run_ends_in_wandb_too(
    run_here: Callable[..., RunPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = []
    finish = wandb.Run.finish

    def finished(self: wandb.Run, exit_code: int | None = None, **options: bool) -> None:
        codes.append(exit_code)
        finish(self, exit_code=exit_code)

    def lost(self: StudentTask, logits: Tensor, batch: object) -> Tensor:
        return logits.sum() * torch.nan

    monkeypatch.setattr(wandb.Run, "finish", finished)
    monkeypatch.setattr(StudentTask, "loss", lost)
    with pytest.raises(RuntimeError, match="became nan"):
        run_here("logger=wandb")
    assert codes == [1]
    assert wandb.run is None


@pytest.mark.slow
def test_wandb_says_nothing(
    bitstill: Callable[..., "subprocess.CompletedProcess[str]"],
    small: tuple[str, ...],
    tmp_path: Path,
) -> None:
    done = bitstill("train", *small, f"paths.output={tmp_path}", "logger=wandb")
    assert done.returncode == 0
    assert len(offline(tmp_path / "default")) == 1
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if line.startswith("wandb:")] == []


@pytest.mark.slow
def test_loggers_change_no_result(run_here: Callable[..., RunPaths], tmp_path: Path) -> None:
    plain = run_here("logger=csv")
    metrics, weights = plain.metrics.read_bytes(), plain.weights.read_bytes()
    plain.record.unlink()
    plain.checkpoint.unlink()
    again = run_here("logger=[tensorboard,wandb]")
    assert again == plain, "a logger is no part of a run's identity"
    assert again.metrics.read_bytes() == metrics
    assert again.weights.read_bytes() == weights
    assert (again.directory / "tensorboard").is_dir()
    assert len(offline(tmp_path / "mine")) == 1
