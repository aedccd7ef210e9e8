"""From a configuration to a finished run: repeatable, resumable, and true to its record."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import bitstill.train
from bitstill import runs
from bitstill.curves import read_curves
from bitstill.deploy.export import export
from bitstill.deploy.finished import Choice
from bitstill.errors import UserError
from bitstill.identity import identity as identity_of
from bitstill.identity import portable, teacher_of
from bitstill.models import Network, to_input
from bitstill.recorder import Recorder
from bitstill.runs import RunPaths, RunRecord
from bitstill.schema import TrainConfig
from bitstill.tasks import DivergedError, StudentTask, Task, TeacherTask
from bitstill.train import _has_fast_bf16
from bitstill.weights import load_weights

Configure = Callable[..., TrainConfig]
Restore = Callable[[], AbstractContextManager[None]]
Train = Callable[..., tuple[int, str, str]]

TEST_IMAGES = 360
TRAINABLE = 293_418


@dataclass(frozen=True)
class Trained:
    config: TrainConfig
    folder: Path
    paths: RunPaths
    record: RunRecord

    @property
    def teacher(self) -> RunPaths:
        assert self.record.teacher_identity is not None
        return RunPaths(Path(self.config.paths.teachers) / self.record.teacher_identity)


def trained(config: TrainConfig, folder: Path) -> Trained:
    paths = RunPaths(folder / "run")
    return Trained(config, folder, paths, bitstill.train.run(config, paths.directory))


@pytest.fixture(scope="module")
def distilled(
    tmp_path_factory: pytest.TempPathFactory, configure: Configure, putting_back: Restore
) -> Trained:
    """A student of two epochs and its teacher."""
    folder = tmp_path_factory.mktemp("distilled")
    config = configure(folder, "loss=soft_hard", "schedule.epochs=2")
    with putting_back():
        return trained(config, folder)


@pytest.fixture(scope="module")
def hard(
    tmp_path_factory: pytest.TempPathFactory, configure: Configure, putting_back: Restore
) -> Trained:
    """A student of one epoch, without a teacher."""
    folder = tmp_path_factory.mktemp("hard")
    with putting_back():
        return trained(configure(folder, "loss=hard"), folder)


pytestmark = pytest.mark.usefixtures("restored")


def same_results(one: RunPaths, other: RunPaths) -> None:
    """Assert that two runs left the same numbers."""
    assert one.metrics.read_bytes() == other.metrics.read_bytes()
    for name in ("weights", "best_val_weights"):
        first, second = (load_file(getattr(paths, name)) for paths in (one, other))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name
    with np.load(one.correctness) as first, np.load(other.correctness) as second:
        assert set(first) == set(second)
        assert all(np.array_equal(first[key], second[key]) for key in first)
    records = [runs.read_record(paths) for paths in (one, other)]
    assert records[0] is not None
    assert records[1] is not None
    assert records[0].selections == records[1].selections
    assert records[0].status == records[1].status == "done"
    assert records[0].epoch == records[1].epoch


def accuracy(network: Network, config: TrainConfig) -> float:
    """Return the test accuracy, computed by hand."""
    test = config.data.load().test
    network.eval()
    with torch.no_grad():
        logits = network(
            torch.from_numpy(test.images.numpy().transpose(0, 3, 1, 2) / np.float32(255))
        )
    return float((logits.argmax(1) == test.labels).double().mean())


def recorded(record: RunRecord) -> float:
    """Return the last epoch's test accuracy under exact statistics."""
    last = record.selections["precise"]["last"]
    assert last is not None
    return last["test/accuracy"]


def loaded(run: Trained, path: Path, statistics: str) -> Network:
    network = bitstill.train.build_network(run.config, classes=10)
    load_weights(network, path, statistics=statistics)
    return network


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


def interrupt(monkeypatch: pytest.MonkeyPatch, *, epoch: int, batch: int) -> None:
    def stop(self: Recorder, trainer: Any, task: Any, outputs: Any, data: Any, index: int) -> None:
        if (trainer.current_epoch, index) == (epoch, batch):
            raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "on_train_batch_end", stop)


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
    finished = runs.read_record(paths)
    assert finished is not None
    assert finished.seconds > record.seconds


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
        patch.setattr("bitstill.recorder.write_curves", die)
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
    try:
        other = trained(configure(tmp_path, "loss=hard", "seed=1"), tmp_path)
    except UserError:
        return
    assert read_curves(other.paths) != read_curves(hard.paths)


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


@pytest.mark.parametrize(("model", "task"), [("teacher", TeacherTask), ("student", StudentTask)])
def test_a_loss_that_is_no_number_ends_a_run(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, task: type
) -> None:
    def lost(self: object, logits: Tensor, batch: object) -> Tensor:
        return logits.sum() * torch.nan

    monkeypatch.setattr(task, "loss", lost)
    with pytest.raises(DivergedError, match=r"became nan in epoch 1: lower schedule\.learning_ra"):
        trained(configure(tmp_path, f"model={model}"), tmp_path)


def test_bf16_is_no_gain_on_every_processor(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("bitstill.train.platform.machine", lambda: "x86_64")
    for capability, fast in (("AVX512", True), ("AVX2", False)):
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda one=capability: one)
        assert _has_fast_bf16() is fast
    with caplog.at_level(logging.WARNING, logger="bitstill"):
        trained(configure(tmp_path, "loss=hard", "trainer.precision=bf16"), tmp_path)
    assert "trainer.precision = bf16: this processor has no instructions for it" in caplog.text


@pytest.mark.parametrize("loss", ["hard", "soft_hard"])
def test_bf16_trains_and_nothing_else(
    loss: str, configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights stay float32, and what is recorded is what the integers score."""
    with caplog.at_level(logging.INFO, logger="bitstill"):
        run = trained(configure(tmp_path, f"loss={loss}", "trainer.precision=bf16"), tmp_path)
    assert {tensor.dtype for tensor in load_file(run.paths.weights).values()} == {
        torch.float32,
        torch.int64,  # num_batches_tracked
    }
    test = run.config.data.load().test
    predicted = bitstill.load(run.paths.packed).predict(test.images.numpy())
    assert (predicted == test.labels.numpy()).mean() == recorded(run.record)
    network = loaded(run, run.paths.weights, "precise").eval()
    with torch.no_grad():
        floats = network(to_input(test.images)).argmax(1).numpy()
    differs = f"classify {(floats != predicted).sum()} of {TEST_IMAGES} test images otherwise"
    assert differs in caplog.text
    full = configure(tmp_path, f"loss={loss}")
    assert identity_of(full, full.data.identity()) != run.record.identity


@pytest.mark.parametrize("model", ["teacher", "student"])
def test_an_epoch_whose_last_step_diverges_is_not_kept(
    model: str, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(self: Task, *step: object) -> None:
        self.network.classifier.bias.data[3] = torch.inf

    monkeypatch.setattr(Task, "on_train_batch_end", diverge)
    config = configure(tmp_path, f"model={model}", "schedule.batch_size=1280")
    with pytest.raises(DivergedError, match=r"the weights became NaN or infinite in epoch 1: "):
        trained(config, tmp_path)
    assert not list(tmp_path.glob("**/metrics.csv"))


def test_a_record_says_what_the_run_was(distilled: Trained) -> None:
    record, config = distilled.record, distilled.config
    assert record.identity == identity_of(config, config.data.identity())
    assert record.data_identity == config.data.identity()
    assert (record.model, record.loss, record.temperature, record.seed) == (
        "student",
        "soft_hard",
        15.0,
        0,
    )
    assert (record.status, record.epoch, record.epochs) == ("done", 2, 2)
    assert record.config == portable(config)
    assert record.teacher_identity == identity_of(teacher_of(config), record.data_identity)
    assert record.versions["torch"] == torch.__version__
    assert {"python", "bitstill", "numpy"} <= set(record.versions)
    assert record.sizes == {
        "checkpoint": distilled.paths.checkpoint.stat().st_size,
        "float32": TRAINABLE * 4,
        "deployed": distilled.paths.packed.stat().st_size,
    }
    teacher = runs.read_record(distilled.teacher)
    assert teacher is not None
    assert teacher.sizes["deployed"] == 4 * (290_736 + 464 + 1_290)
    assert not distilled.teacher.packed.exists()
    assert record.seconds > 0
    assert record.images_per_second == pytest.approx(2 * 1280 / record.seconds, rel=0.01)
    assert runs.read_record(distilled.paths) == record


def test_a_run_leaves_what_would_be_exported(distilled: Trained) -> None:
    left = distilled.paths.packed.read_bytes()
    assert len(left) < 80_000
    exported = distilled.folder / "exported.bitstill"
    export(distilled.paths.directory, "packed", Choice(), exported)
    assert exported.read_bytes() == left


def test_what_is_deployed_scores_what_is_recorded(distilled: Trained) -> None:
    engine = bitstill.load(distilled.paths.packed)
    test = distilled.config.data.load().test
    right = engine.predict(test.images.numpy()) == test.labels.numpy()
    assert right.mean() == recorded(distilled.record)
    correct = runs.read_correctness(distilled.paths)["precise/last"]
    assert np.array_equal(correct, right)
    assert engine.model.test_accuracy == right.mean()


def test_a_record_holds_no_folder_of_this_machine(distilled: Trained) -> None:
    for paths in (distilled.paths, distilled.teacher):
        text = paths.record.read_text()
        for folder in (distilled.folder, os.environ["BITSTILL_CACHE"], Path.home(), Path.cwd()):
            assert str(folder) not in text


def test_the_curves_are_a_row_an_epoch(distilled: Trained) -> None:
    curves = read_curves(distilled.paths)
    assert [row["epoch"] for row in curves] == [1, 2]
    # Two epochs: milestones at a quarter and two thirds begin after epochs 1 and 1.
    assert [row["learning_rate"] for row in curves] == [0.01, 0.0005]
    assert [row["soft_weight"] for row in curves] == [225, 225]
    accuracies = {
        f"{split}/accuracy{kind}" for split in ("val", "test") for kind in ("", "_precise")
    }
    assert all(
        set(row)
        == accuracies | {"epoch", "learning_rate", "soft_weight", "train/loss", "train/accuracy"}
        for row in curves
    )
    assert all(0 <= row[name] <= 1 for row in curves for name in accuracies)


def test_selections_are_those_of_the_curves(distilled: Trained) -> None:
    curves = read_curves(distilled.paths)
    assert set(distilled.record.selections) == {"running", "precise"}
    for kind, suffix in (("running", ""), ("precise", "_precise")):
        chosen = distilled.record.selections[kind]
        last, best_test = chosen["last"], chosen["best_test"]
        assert last is not None
        assert best_test is not None
        assert last["test/accuracy"] == curves[-1]["test/accuracy" + suffix]
        assert best_test["test/accuracy"] == max(row["test/accuracy" + suffix] for row in curves)


def test_correctness_agrees_with_the_recorded_accuracies(distilled: Trained) -> None:
    with np.load(distilled.paths.correctness) as bits:
        assert set(bits) == {
            f"{kind}/{name}"
            for kind in ("running", "precise")
            for name in ("last", "best_val", "best_test")
        }
        for key, packed in bits.items():
            kind, _, selection = key.partition("/")
            row = distilled.record.selections[kind][selection]
            assert row is not None
            right = np.unpackbits(packed, count=TEST_IMAGES)
            assert right.sum() / TEST_IMAGES == row["test/accuracy"]


def test_the_weights_reproduce_the_recorded_accuracies(distilled: Trained) -> None:
    last = {kind: chosen["last"] for kind, chosen in distilled.record.selections.items()}
    best = distilled.record.selections["precise"]["best_val"]  # what best_val.safetensors is
    assert last["running"] is not None
    assert last["precise"] is not None
    assert best is not None
    for path, statistics, row in (
        (distilled.paths.weights, "running", last["running"]),
        (distilled.paths.weights, "precise", last["precise"]),
        (distilled.paths.best_val_weights, "precise", best),
    ):
        network = loaded(distilled, path, statistics)
        # By hand: the division by 255 and the batches may differ in the last bit.
        assert accuracy(network, distilled.config) == pytest.approx(
            row["test/accuracy"], abs=1.5 / TEST_IMAGES
        )


def test_a_finished_run_is_not_trained_again(
    distilled: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(bitstill.train, "_fit")
    before = {path: path.stat().st_mtime_ns for path in distilled.folder.rglob("*")}
    assert bitstill.train.run(distilled.config, distilled.paths.directory) == distilled.record
    assert {path: path.stat().st_mtime_ns for path in distilled.folder.rglob("*")} == before


def test_that_a_run_is_done_is_known_without_torch(distilled: Trained, small: Any) -> None:
    """What was trained here is found by a command in a process that may not import it."""
    code = (
        "import sys; sys.modules['torch'] = None; from bitstill.application import train; "
        "sys.exit(train(sys.argv[1:]))"
    )
    directory, teachers = distilled.paths.directory, distilled.config.paths.teachers
    arguments = [*small, "loss=soft_hard", "schedule.epochs=2", f"hydra.run.dir={directory}"]
    command = [sys.executable, "-c", code, *arguments, f"paths.teachers={teachers}"]
    before = distilled.paths.record.read_bytes()
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert found.returncode == 0, found.stderr
    assert "soft_hard T=15: test accuracy " in found.stderr
    assert distilled.paths.record.read_bytes() == before


def test_a_teacher_that_is_run_again_stays_in_its_store(
    distilled: Trained, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Students may be reading it."""
    monkeypatch.delattr(bitstill.train, "_fit")
    before = contents(distilled.teacher.directory)
    teachers = f"paths.teachers={distilled.config.paths.teachers}"
    for rerun in ("failed", "all"):
        config = configure(tmp_path, "model=teacher", teachers, f"sweep.rerun={rerun}")
        copied = trained(config, tmp_path)
        assert copied.record.status == "done"
        assert copied.paths.weights.read_bytes() == before[distilled.teacher.weights]
        assert contents(distilled.teacher.directory) == before
        copied.paths.weights.write_bytes(b"to be copied again")


def test_without_validation_images_there_is_no_best_val(
    configure: Configure, tmp_path: Path
) -> None:
    run = trained(configure(tmp_path, "data.val_fraction=0"), tmp_path)
    for chosen in run.record.selections.values():
        assert chosen["best_val"] is None
        assert chosen["last"] == chosen["best_test"]
    assert not run.paths.best_val_weights.exists()
    assert "val/accuracy" not in read_curves(run.paths)[0]
    with np.load(run.paths.correctness) as bits:
        assert not [key for key in bits if "best_val" in key]


@pytest.mark.parametrize("kind", ["running", "precise"])
def test_one_kind_of_statistics_may_be_left_out(
    configure: Configure, tmp_path: Path, kind: str
) -> None:
    run = trained(
        configure(tmp_path, f"evaluation.batch_norm={kind}", "data.val_fraction=0"), tmp_path
    )
    assert set(run.record.selections) == {kind}
    last = run.record.selections[kind]["last"]
    assert last is not None
    name = "test/accuracy" if kind == "running" else "test/accuracy_precise"
    assert last["test/accuracy"] == read_curves(run.paths)[0][name]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_teacher_is_trained_once_and_stays_as_it_was(
    distilled: Trained, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = distilled.teacher.directory.parent
    before = contents(distilled.teacher.directory)
    assert distilled.teacher.weights in before
    assert [path.name for path in store.iterdir() if path.is_dir()] == [
        distilled.record.teacher_identity
    ]
    fitted = []
    fit = bitstill.train._fit

    def count(config: TrainConfig, *arguments: Any, **options: Any) -> None:
        fitted.append(config.is_teacher)
        fit(config, *arguments, **options)

    monkeypatch.setattr(bitstill.train, "_fit", count)
    config = configure(tmp_path, "loss=soft", "temperature=T50", f"paths.teachers={store}")
    other = trained(config, tmp_path)
    assert fitted == [False]
    assert other.record.teacher_identity == distilled.record.teacher_identity
    assert contents(distilled.teacher.directory) == before

    # Nor is it when a run asks for the teacher itself; that is a copy.
    teacher = trained(
        configure(tmp_path, "model=teacher", f"paths.teachers={store}"), tmp_path / "teacher"
    )
    assert fitted == [False]
    assert teacher.record.identity == distilled.record.teacher_identity
    assert teacher.paths.weights.read_bytes() == before[distilled.teacher.weights]
    assert contents(distilled.teacher.directory) == before


def test_cached_logits_are_those_of_the_frozen_teacher(distilled: Trained) -> None:
    config = teacher_of(distilled.config)
    train = config.data.load().train
    teacher = bitstill.train.build_network(config, classes=10)
    load_weights(teacher, distilled.teacher.weights)
    teacher.eval()
    with torch.no_grad():
        live = teacher(train.images.permute(0, 3, 1, 2).float() / 255).numpy()
    cached = load_file(distilled.teacher.teacher_logits)["logits"].numpy()
    assert cached.shape == (1293, 10)
    assert cached.dtype == np.float32
    np.testing.assert_allclose(cached, live, rtol=1e-4, atol=1e-5)


def test_a_teacher_is_not_in_its_students_checkpoint(distilled: Trained) -> None:
    checkpoint = torch.load(distilled.paths.checkpoint, weights_only=True)
    assert not [key for key in checkpoint["state_dict"] if "teacher" in key]
    trainable = sum(
        value.numel()
        for key, value in checkpoint["state_dict"].items()
        if "running_" not in key and "num_batches" not in key
    )
    assert trainable == TRAINABLE
    assert not [key for key in load_file(distilled.paths.weights) if "teacher" in key]


def test_ctrl_c_ends_a_run_with_one_line(
    train: Train, small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, epoch=0, batch=0)
    code, out, err = train(*small, f"paths.output={tmp_path}")
    assert code == 130
    assert out == ""
    line = err.splitlines()[-1]
    assert line == "bitstill: interrupted; the same command goes on from there"
    assert "Traceback" not in err
    [record] = runs.load_sweep(tmp_path / "default")
    assert record.status == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_run_to_go_on_from(
    small: tuple[str, ...], tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "bitstill", "train", *small, "schedule.epochs=1000"]
    process = subprocess.Popen(  # noqa: S603
        [*command, f"paths.output={tmp_path}"], stderr=subprocess.PIPE, text=True
    )
    try:
        ends = time.monotonic() + 60
        while not (found := runs.load_sweep(tmp_path / "default")) or not found[0].epoch:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < ends
            time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("bitstill: interrupted; ")
    assert "Traceback" not in err
    [record] = runs.load_sweep(tmp_path / "default")
    assert record.status == "interrupted"
    assert record.epoch >= 1


def test_a_copied_teacher_is_written_atomically(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed while it copies must not leave half a record."""
    stored, paths = RunPaths(tmp_path / "stored"), RunPaths(tmp_path / "run")
    for one in (stored, paths):
        one.directory.mkdir()
    for path in (stored.metrics, stored.weights, stored.correctness, stored.record):
        path.write_bytes(path.name.encode() * 1000)
    paths.record.write_bytes(b"old")
    replaced = []
    replace = Path.replace

    def replacing(self: Path, target: Path) -> Path:
        assert self.read_bytes() == target.name.encode() * 1000, "not whole yet"
        assert target.name != "run.json" or target.read_bytes() == b"old"
        replaced.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replacing)
    bitstill.train._publish(stored, paths)
    assert replaced == ["metrics.csv", "weights.safetensors", "correctness.npz", "run.json"]
    assert not paths.best_val_weights.exists()
