"""The same configuration gives the same bytes, however often it is interrupted on the way."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import SMALL, Configure, Train
from tests.trained import Trained, interrupt, same_results, trained
from torch import Tensor

import bitstill.train
from bitstill import runs
from bitstill.errors import UserError
from bitstill.models import Network
from bitstill.runs import RunPaths
from bitstill.runs.curves import read_curves
from bitstill.training.recorder import Recorder
from bitstill.training.tasks import StudentTask

pytestmark = pytest.mark.usefixtures("restored")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(
    distilled: Trained, configure: Configure, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # whatever the process did before does not matter
    config = configure(tmp_path, "loss=soft_hard", "schedule.epochs=2")
    again = trained(config, tmp_path)  # with a teacher of its own
    same_results(again.paths, distilled.paths)
    same_results(again.teacher, distilled.teacher)


def test_another_seed_gives_another_run(
    hard: Trained, configure: Configure, tmp_path: Path
) -> None:
    other = trained(configure(tmp_path, "loss=hard", "seed=1"), tmp_path)
    assert other.record.identity != hard.record.identity
    losses = [read_curves(run.paths)[0]["train/loss"] for run in (hard, other)]
    assert losses[0] != losses[1]
    weights = [load_file(run.paths.weights)["blocks.conv1.conv.weight"] for run in (hard, other)]
    assert not torch.equal(weights[0], weights[1])


@pytest.mark.slow
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    distilled: Trained, configure: Configure, tmp_path: Path
) -> None:
    config = configure(
        tmp_path,
        "loss=soft_hard",
        "schedule.epochs=2",
        f"paths.teachers={distilled.folder}/teachers",
    )
    paths = RunPaths(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, epoch=1, batch=3)
        with pytest.raises(KeyboardInterrupt):
            bitstill.train.run(config, paths.directory)
    record = runs.read_record(paths)
    assert record is not None
    assert (record.status, record.epoch, record.error) == ("interrupted", 1, None)
    assert not paths.weights.exists()

    # What is left is not trained again: from here on, the first epoch would be an error.
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, epoch=0, batch=0)
        bitstill.train.run(config, paths.directory)
    same_results(paths, distilled.paths)


def test_a_run_interrupted_before_its_first_epoch_begins_anew(
    hard: Trained, configure: Configure, tmp_path: Path
) -> None:
    config, paths = configure(tmp_path, "loss=hard"), RunPaths(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, epoch=0, batch=3)
        with pytest.raises(KeyboardInterrupt):
            bitstill.train.run(config, paths.directory)
    record = runs.read_record(paths)
    assert record is not None
    assert (record.status, record.epoch, record.selections) == ("interrupted", 0, {})
    bitstill.train.run(config, paths.directory)
    same_results(paths, hard.paths)


def test_a_run_that_died_after_its_last_epoch_is_finished(
    hard: Trained, configure: Configure, tmp_path: Path
) -> None:
    config, paths = configure(tmp_path, "loss=hard"), RunPaths(tmp_path / "run")

    def die(self: Recorder, network: Network) -> None:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "finish", die)
        with pytest.raises(MemoryError):
            bitstill.train.run(config, paths.directory)
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, epoch=0, batch=0)
        bitstill.train.run(config, paths.directory)
    same_results(paths, hard.paths)


def test_a_run_that_died_between_its_last_checkpoint_and_its_curves_has_all_of_them(
    hard: Trained, configure: Configure, tmp_path: Path
) -> None:
    config, paths = configure(tmp_path, "loss=hard"), RunPaths(tmp_path / "run")

    def die(*arguments: object) -> None:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitstill.training.recorder.write_curves", die)
        with pytest.raises(MemoryError):
            bitstill.train.run(config, paths.directory)
    assert paths.checkpoint.exists()
    assert not paths.metrics.exists()
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, epoch=0, batch=0)
        bitstill.train.run(config, paths.directory)
    same_results(paths, hard.paths)


def test_a_checkpoint_of_another_run_is_not_gone_on_from(
    hard: Trained, configure: Configure, tmp_path: Path
) -> None:
    """As with ``hydra.run.dir=here``: one folder, two configurations."""
    shutil.copytree(hard.paths.directory, tmp_path / "run")
    with pytest.raises(UserError, match="holds another run"):
        trained(configure(tmp_path, "loss=hard", "seed=1"), tmp_path)


def test_another_runs_folder_is_left_as_it_is(hard: Trained, train: Train, tmp_path: Path) -> None:
    """Hydra would have written its copy of the configuration there, and opened the log."""
    folder = tmp_path / "run"
    shutil.copytree(hard.paths.directory, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, _, err = train(*SMALL, "loss=hard", "seed=1", f"hydra.run.dir={folder}")
    assert code == 2
    [line] = err.splitlines()
    assert line.startswith(f"bitstill: {folder} holds another run ({hard.record.identity[:10]}, ")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["metrics.csv", "last.ckpt", "weights.safetensors"])
def test_files_of_no_run_are_left_as_they_are(
    configure: Configure, train: Train, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("my own")
    code, _, err = train(*SMALL, "loss=hard", f"hydra.run.dir={tmp_path}")
    assert code == 2
    assert err == (
        f"bitstill: {tmp_path / name} is of no run, and would be replaced: move it away, or give "
        "another folder\n"
    )
    with pytest.raises(UserError, match="is of no run"):
        bitstill.train.run(configure(tmp_path, "loss=hard"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "my own"


def test_a_failing_run_records_why(hard: Trained, configure: Configure, tmp_path: Path) -> None:
    config, paths = configure(tmp_path, "loss=hard"), RunPaths(tmp_path / "run")

    def explode(self: StudentTask, logits: Tensor, batch: object) -> Tensor:
        raise ZeroDivisionError("out of luck")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StudentTask, "loss", explode)
        with pytest.raises(ZeroDivisionError):
            bitstill.train.run(config, paths.directory)
    record = runs.read_record(paths)
    assert record is not None
    assert record.status == "failed"
    assert record.error is not None
    assert record.error["type"] == "ZeroDivisionError"
    assert record.error["message"] == "out of luck"
    assert "in explode" in record.error["traceback"]

    finished = bitstill.train.run(config, paths.directory)
    assert (finished.status, finished.error) == ("done", None)
    same_results(paths, hard.paths)


def test_a_finished_run_is_not_trained_again(
    distilled: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(bitstill.train, "_fit")
    before = {path: path.stat().st_mtime_ns for path in distilled.folder.rglob("*")}
    assert bitstill.train.run(distilled.config, distilled.paths.directory) == distilled.record
    assert {path: path.stat().st_mtime_ns for path in distilled.folder.rglob("*")} == before


def test_that_a_run_is_done_is_known_without_torch(distilled: Trained) -> None:
    """What was trained here is found by a command in a process that may not import it."""
    code = (
        "import sys; sys.modules['torch'] = None; from bitstill.application import train; "
        "sys.exit(train(sys.argv[1:]))"
    )
    directory, teachers = distilled.paths.directory, distilled.config.paths.teachers
    arguments = [*SMALL, "loss=soft_hard", "schedule.epochs=2", f"hydra.run.dir={directory}"]
    command = [sys.executable, "-c", code, *arguments, f"paths.teachers={teachers}"]
    before = distilled.paths.record.read_bytes()
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert found.returncode == 0, found.stderr
    assert "soft_hard T=15: test accuracy " in found.stderr
    assert distilled.paths.record.read_bytes() == before


def test_ctrl_c_ends_a_run_with_one_line(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, epoch=0, batch=0)
    code, out, err = train(*SMALL, f"paths.output={tmp_path}")
    assert code == 130
    assert out == ""
    line = err.splitlines()[-1]
    assert line == "bitstill: interrupted; the same command goes on from there"
    assert "Traceback" not in err
    [record] = runs.load_sweep(tmp_path / "default")
    assert record.status == "interrupted"
