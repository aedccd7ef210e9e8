"""What a run leaves is true of it."""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import Configure, Train, made_up
from tests.trained import TEST_IMAGES, Trained, trained

import bitstill.train
from bitstill import runs
from bitstill.data import Split
from bitstill.deploy.export import export
from bitstill.deploy.finished import Choice
from bitstill.models import Network
from bitstill.runs.correctness import read_correctness
from bitstill.runs.curves import read_curves
from bitstill.runs.identity import identity as identity_of
from bitstill.runs.identity import portable_config, teacher_of
from bitstill.schema import TrainConfig
from bitstill.training import lifecycle
from bitstill.training.recorder import Recorder

TRAINABLE = 293_418

pytestmark = pytest.mark.usefixtures("restored")


def accuracy(network: Network, config: TrainConfig) -> float:
    """Return the test accuracy, computed by hand."""
    test = config.data.load().test
    network.eval()
    with torch.no_grad():
        logits = network(
            torch.from_numpy(test.images.numpy().transpose(0, 3, 1, 2) / np.float32(255))
        )
    return float((logits.argmax(1) == test.labels).double().mean())


def test_a_record_says_what_the_run_was(distilled: Trained) -> None:
    record, config = distilled.record, distilled.config
    assert record.identity == identity_of(config, config.data.identity())
    for path in (distilled.paths.weights, distilled.paths.best_val_weights):
        assert record.checksums[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record.data_identity == config.data.identity()
    assert (record.model, record.loss, record.temperature, record.seed) == (
        "student",
        "soft_hard",
        15.0,
        0,
    )
    assert (record.status, record.epoch, record.epochs) == ("done", 2, 2)
    assert record.config == portable_config(config)
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
    assert right.mean() == distilled.test_accuracy
    correct = read_correctness(distilled.paths)["precise/last"]
    assert np.array_equal(correct, right)
    assert engine.model.test_accuracy == right.mean()


def test_a_record_holds_no_folder_of_this_machine(distilled: Trained) -> None:
    for paths in (distilled.paths, distilled.teacher):
        text = paths.record.read_text()
        for folder in (distilled.folder, os.environ["BITSTILL_CACHE"], Path.home(), Path.cwd()):
            assert str(folder) not in text


def test_what_a_failed_run_says_holds_none_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = runs.RunPaths(tmp_path / "run")
    paths.directory.mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "images").read_bytes()
    lifecycle._mark(made_up(status="running"), paths, "failed", caught.value)
    record = runs.read_record(paths)
    assert record is not None
    assert record.error is not None
    assert record.error["message"].endswith("'./images'")
    assert str(tmp_path) not in paths.record.read_text()


def test_a_run_says_its_accuracy_in_percent(
    train: Train, few_images: tuple[str, ...], tmp_path: Path
) -> None:
    """After each epoch and at its end, of the statistics that decide."""
    code, _, err = train(*few_images, "loss=hard", "schedule.epochs=1", f"paths.output={tmp_path}")
    assert code == 0, err
    [(paths, _)] = runs.known_runs(tmp_path / "default")
    [row] = read_curves(paths)
    percent = f"test accuracy {100 * row['test/accuracy_precise']:.2f} %"
    assert f"hard T=15: epoch 1 of 1: train loss {row['train/loss']:.4g}, {percent}\n" in err
    assert f"hard T=15: {percent}, in " in err


@pytest.mark.parametrize("part", ["weight_bits", "activation_bits"])
def test_in_full_precision_there_is_nothing_to_pack(
    train: Train, few_images: tuple[str, ...], tmp_path: Path, part: str
) -> None:
    given = ("loss=hard", "schedule.epochs=1", f"quantizer.{part}=null")
    code, _, err = train(*few_images, *given, f"paths.output={tmp_path}")
    assert code == 0, err
    [(paths, record)] = runs.known_runs(tmp_path / "default")
    assert record.done
    assert not paths.packed.exists()
    folded = 2 * 464  # gain and offset of each channel, into what the convolution has
    assert record.sizes["deployed"] == 4 * (TRAINABLE - folded)


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
        network = distilled.network(path, statistics)
        # By hand: the division by 255 and the batches may differ in the last bit.
        assert accuracy(network, distilled.config) == pytest.approx(
            row["test/accuracy"], abs=1.5 / TEST_IMAGES
        )


def test_at_its_end_a_network_is_where_its_images_are(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning moves it to the CPU: here the images are on another device."""
    finish = Recorder.finish
    devices: list[torch.device] = []

    def with_images_elsewhere(self: Recorder, network: Network) -> runs.RunRecord:
        test = self._data.test
        there = Split(test.images.to("meta"), test.labels.to("meta"))
        self._data = dataclasses.replace(self._data, test=there)
        monkeypatch.setattr(network, "to", devices.append)
        return finish(self, network)

    monkeypatch.setattr(Recorder, "finish", with_images_elsewhere)
    monkeypatch.setattr("bitstill.training.recorder.disagreement", lambda *_, **__: 0)
    assert trained(configure(tmp_path, "loss=hard"), tmp_path).record.status == "done"
    assert devices == [torch.device("meta")]


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


def test_a_training_that_ends_early_is_not_done(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(tmp_path, "loss=hard", "schedule.epochs=2")
    monkeypatch.setenv("PL_TRAINER_MAX_STEPS", "1")  # behind the check's back
    with pytest.raises(RuntimeError, match="ended after 1 of 2 epochs"):
        trained(config, tmp_path)
    record = runs.read_record(runs.RunPaths(tmp_path / "run"))
    assert record is not None
    assert record.status == "failed"
