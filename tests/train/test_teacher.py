"""A teacher is trained once, and stays as it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import Configure
from tests.trained import Trained, trained

import bitstill.train
from bitstill.errors import UserError
from bitstill.runs import RunPaths, in_store
from bitstill.runs.identity import identity, teacher_of
from bitstill.schema import TrainConfig
from bitstill.training.weights import load_weights

TRAINABLE = 293_418

pytestmark = pytest.mark.usefixtures("restored")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def test_a_teacher_s_run_is_not_where_it_is_stored(configure: Configure, tmp_path: Path) -> None:
    """It would wait for itself, and all others for it."""
    config = configure(tmp_path, "model=teacher")
    stored = in_store(config, identity(config, config.data.identity())).directory
    with pytest.raises(
        UserError, match=r"is where paths\.teachers keeps .*: leave hydra\.run\.dir out"
    ):
        bitstill.train.run(config, stored.parent / "x" / ".." / stored.name)
    assert not stored.exists()


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
