"""Runs against a server: there, dead, slow, and gone in between."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb
from tests.wandb_files import epochs, files, overview
from tests.wandb_server import API_KEY, WandbServer

from bitstill.loggers import wandb_run
from bitstill.runs import RunPaths
from bitstill.training.recorder import Recorder

pytestmark = [pytest.mark.usefixtures("restored", "fresh"), pytest.mark.slow]

RunHere = Callable[..., RunPaths]
ONLINE = ("logger=wandb", "logger.wandb.mode=online", "schedule.epochs=2")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not asked any server yet, and does not wait long."""
    monkeypatch.setattr(wandb_run, "_unreachable", threading.Event())
    monkeypatch.setattr(wandb_run, "_BEGIN_SECONDS", 3.0)
    monkeypatch.setattr(wandb_run, "_END_SECONDS", 2.0)


@pytest.fixture
def there(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> WandbServer:
    wandb.teardown()  # else its settings are those of the first run of the process
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


def test_online(run_here: RunHere, there: WandbServer, tmp_path: Path) -> None:
    run_here(*ONLINE, "logger.wandb.log_artifacts=true")
    [run] = there.runs.values()
    assert run.exit_code == 0
    assert run.epochs == [1, 2]
    assert run.fields["groupName"] == "mine"
    assert run.summary["best_val/test_accuracy"] > 0
    assert {one["artifactTypeName"] for one in there.artifacts.values()} == {"model", "run-record"}
    assert all(one["committed"] for one in there.artifacts.values())
    [[file]] = files(tmp_path / "mine").values()
    assert file.with_name(f"{file.name}.synced").exists(), "nothing is left to be sent"


def test_a_stopped_run_goes_on_as_the_same_run(
    run_here: RunHere, there: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorder.on_train_epoch_end

    def stop(self: Recorder, trainer: object, task: object) -> None:
        if self.record.epoch == 1:
            raise KeyboardInterrupt
        recorded(self, trainer, task)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_train_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            run_here(*ONLINE)
    [run] = there.runs.values()
    assert run.exit_code == 255
    run_here(*ONLINE)
    [run] = there.runs.values()
    assert run.sent_epochs == [1, 2], "each once"
    assert run.exit_code == 0


def test_a_dead_server_costs_one_warning(
    run_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    said: Callable[[], list[str]],
) -> None:
    wandb.teardown()
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    with socket.socket() as dead:  # nobody else's, and without `listen` it refuses
        dead.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{dead.getsockname()[1]}")
        run_here(*ONLINE)
        run_here(*ONLINE, "seed=1")
    assert len(said()) == 1, said()
    [line] = said()
    assert line.startswith("wandb is offline (")
    assert line.endswith(f"bitstill sync {tmp_path / 'mine'} sends it later")
    found = files(tmp_path / "mine")
    assert len(found) == 2
    for [file] in found.values():
        assert file.parent.name.startswith("offline-run-")
        assert epochs(file) == [1, 2]
        assert overview(file)["exit_code"] == 0


def test_a_silent_server_costs_one_warning(
    run_here: RunHere, there: WandbServer, tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    there.silent.set()
    run_here(*ONLINE)
    [line] = said()
    assert line.startswith("wandb is offline (")
    [[file]] = files(tmp_path / "mine").values()
    assert epochs(file) == [1, 2]


def test_no_key_is_offline_too(
    run_here: RunHere,
    there: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    said: Callable[[], list[str]],
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))  # a login of the user's own
    run_here(*ONLINE)
    [line] = said()
    assert "API key" in line


def test_a_server_that_is_gone_in_between(
    run_here: RunHere,
    there: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    said: Callable[[], list[str]],
) -> None:
    recorded = Recorder.on_train_epoch_end

    def silence(self: Recorder, trainer: object, task: object) -> None:
        there.silent.set()
        recorded(self, trainer, task)  # type: ignore[arg-type]

    monkeypatch.setattr(Recorder, "on_train_epoch_end", silence)
    run_here(*ONLINE)
    assert said() == [
        f"wandb has not received everything: bitstill sync {tmp_path / 'mine'} sends the rest"
    ]
    [[file]] = files(tmp_path / "mine").values()
    assert epochs(file) == [1, 2]
    assert not file.with_name(f"{file.name}.synced").exists()
    run_here(*ONLINE, "seed=1")
    assert len(said()) == 1, "the next one does not wait"
    there.silent.clear()
    wandb.teardown()
