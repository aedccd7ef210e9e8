"""What the recorder keeps, epoch by epoch and sitting by sitting; no training."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.conftest import Configure, made_up

from bitstill.errors import UserError
from bitstill.runs import RunPaths, read_record
from bitstill.training.recorder import Recorder

NOTHING: Any = None


@pytest.fixture
def recorder(configure: Configure, tmp_path: Path) -> Callable[[], Recorder]:
    """Begins a sitting of a run of 1000 training images, 300 a batch."""
    record = made_up(status="running", config={"schedule": {"batch_size": 300}})
    data: Any = SimpleNamespace(train=range(1000))
    evaluation = configure(tmp_path).evaluation
    return lambda: Recorder(RunPaths(tmp_path), record, data, evaluation)


def test_the_seconds_of_all_sittings_are_recorded(
    recorder: Callable[[], Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 of the first, 20 so far of the second; what lies between the two is none of them."""
    now = [0.0]
    monkeypatch.setattr(
        "bitstill.training.recorder.time", SimpleNamespace(perf_counter=lambda: now[0])
    )
    first = recorder()
    accuracies = {"test/accuracy": 0.5, "test/accuracy_precise": 0.5}
    first._rows = [{"epoch": epoch, **accuracies} for epoch in (1, 2)]
    now[0] = 100.0
    state = first.state_dict()
    now[0] = 5000.0
    second = recorder()
    second.load_state_dict(state)
    now[0] = 5020.0
    second.on_train_start(NOTHING, NOTHING)
    found = read_record(RunPaths(tmp_path))
    assert found is not None
    assert (found.status, found.epoch, found.seconds) == ("running", 2, 120.0)
    assert found.images_per_second == 2 * 900 / 120, "of whole batches"


def test_the_best_weights_are_those_of_the_statistics_that_decide(
    recorder: Callable[[], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact ones, where both are measured; of equal epochs the first."""
    one = recorder()
    rows, saved = one._rows, list[tuple[str, int]]()
    monkeypatch.setattr(
        "bitstill.training.recorder.save_weights",
        lambda _, path, __: saved.append((path.name, len(rows))),
    )
    right = dict.fromkeys(("test/accuracy", "test/accuracy_precise"), torch.ones(8).bool())
    for epoch, (running, exact) in enumerate([(0.9, 0.5), (0.1, 0.6), (0.2, 0.6)], start=1):
        accuracies = {"val/accuracy": running, "val/accuracy_precise": exact}
        rows.append({"epoch": epoch, **accuracies, **dict.fromkeys(right, 0.5)})
        one._keep(NOTHING, right)
    assert saved == [("best_val.safetensors", 1), ("best_val.safetensors", 2)]


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    recorder = Recorder.__new__(Recorder)
    recorder.paths = RunPaths(tmp_path)
    recorder.record = type("Record", (), {"identity": "b" * 64})()
    with pytest.raises(UserError) as caught:
        recorder.load_state_dict({"identity": "a" * 64})
    assert str(caught.value) == (
        f"{tmp_path / 'last.ckpt'} belongs to another run (aaaaaaaaaa, and this is bbbbbbbbbb): "
        "move it away"
    )
