"""A run that a test trained, and what it is held against."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import bitstill.train
from bitstill import runs
from bitstill.models import Network
from bitstill.runs import RunPaths, RunRecord
from bitstill.schema import TrainConfig
from bitstill.training.recorder import Recorder
from bitstill.training.weights import load_weights

TEST_IMAGES = 360


@dataclass(frozen=True)
class Trained:
    """A finished run, its configuration, and the folder that its teachers lie in, too."""

    config: TrainConfig
    folder: Path
    paths: RunPaths
    record: RunRecord

    @property
    def teacher(self) -> RunPaths:
        assert self.record.teacher_identity is not None
        return RunPaths(Path(self.config.paths.teachers) / self.record.teacher_identity)

    @property
    def test_accuracy(self) -> float:
        """What is recorded of the last epoch under exact statistics."""
        last = self.record.selections["precise"]["last"]
        assert last is not None
        return last["test/accuracy"]

    def network(self, weights: Path, statistics: str) -> Network:
        network = bitstill.train.build_network(self.config, classes=10)
        load_weights(network, weights, statistics=statistics)
        return network


def trained(config: TrainConfig, folder: Path) -> Trained:
    """Train in a folder."""
    paths = RunPaths(folder / "run")
    return Trained(config, folder, paths, bitstill.train.run(config, paths.directory))


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


def interrupt(monkeypatch: pytest.MonkeyPatch, *, epoch: int, batch: int) -> None:
    """End training by Ctrl-C at a step."""

    def stop(self: Recorder, trainer: Any, task: Any, outputs: Any, data: Any, index: int) -> None:
        if (trainer.current_epoch, index) == (epoch, batch):
            raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "on_train_batch_end", stop)
