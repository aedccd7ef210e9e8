"""A signal within an epoch: nothing is lost, nothing is done twice, and the bits are the same."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from tests.conftest import Configure

import bitstill.train
from bitstill.errors import StoppedError
from bitstill.runs import RunPaths, read_record
from bitstill.schema import TrainConfig
from bitstill.training.interrupts import Interrupts
from bitstill.training.tasks import Task

EPOCHS, BATCHES = 3, 5  # of 162 training images, 32 a batch


@pytest.fixture(scope="module")
def chosen(few_images: tuple[str, ...]) -> tuple[str, ...]:
    return (*few_images, "loss=hard", f"schedule.epochs={EPOCHS}")


@pytest.fixture
def config(configure: Configure, chosen: tuple[str, ...], tmp_path: Path) -> TrainConfig:
    return configure(tmp_path, *chosen)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Every step that is taken, by epoch and batch."""
    taken: list[tuple[int, int]] = []
    step = Task.training_step

    def counted(self: Task, batch: Any, batch_idx: int) -> Any:
        taken.append((self.current_epoch, batch_idx))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", counted)
    return taken


@pytest.fixture
def strike(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Arrange that a signal strikes once, in the middle of a step or in an epoch's evaluation."""

    def arrange(number: int, *, epoch: int, batch: int, times: int = 1) -> None:
        name = "training_step" if batch < BATCHES else "epoch_settings"
        method = getattr(Task, name)
        left = [times]

        def struck(self: Task, *arguments: Any) -> Any:
            here = (self.current_epoch, arguments[1] if arguments else BATCHES)
            if here == (epoch, batch) and left[0]:
                for _ in range(times):
                    left[0] -= 1
                    os.kill(os.getpid(), number)
            return method(self, *arguments)

        monkeypatch.setattr(Task, name, struck)

    return arrange


@pytest.fixture(scope="module")
def undisturbed(
    configure: Configure, chosen: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> RunPaths:
    paths = RunPaths(tmp_path_factory.mktemp("undisturbed") / "run")
    bitstill.train.run(configure(paths.directory.parent, *chosen), paths.directory)
    return paths


@pytest.fixture
def kept() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


EVERY_STEP = [(epoch, batch) for epoch in range(EPOCHS) for batch in range(BATCHES)]


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("number", "epoch", "batch"),
    [
        (signal.SIGINT, 0, 0),
        (signal.SIGINT, 0, BATCHES - 1),
        (signal.SIGINT, 1, BATCHES),
        (signal.SIGINT, 2, BATCHES - 1),
        (signal.SIGINT, 2, BATCHES),
        (signal.SIGTERM, 1, 2),
        (signal.SIGUSR2, 1, 3),
        (signal.SIGUSR2, 1, BATCHES),
    ],
)
def test_what_was_stopped_goes_on_with_its_next_step(
    config: TrainConfig,
    undisturbed: RunPaths,
    steps: list[tuple[int, int]],
    strike: Callable[..., None],
    tmp_path: Path,
    number: signal.Signals,
    epoch: int,
    batch: int,
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    if number != signal.SIGINT:  # Python's own handler does that
        signal.signal(number, stop)
    paths = RunPaths(tmp_path / "stopped")
    strike(number, epoch=epoch, batch=batch)
    steps.clear()
    with pytest.raises(KeyboardInterrupt):
        bitstill.train.run(config, paths.directory)
    assert steps[-1] == (epoch, min(batch, BATCHES - 1)), "the step in which it struck is the last"
    record = read_record(paths)
    assert record is not None
    assert record.status == "interrupted"

    bitstill.train.run(config, paths.directory)
    assert steps == EVERY_STEP, "no step is left out, and none is taken twice"
    for name in ("metrics", "weights", "packed", "correctness"):
        found, expected = getattr(paths, name), getattr(undisturbed, name)
        assert found.read_bytes() == expected.read_bytes(), name


def test_the_second_signal_does_not_wait(
    config: TrainConfig, steps: list[tuple[int, int]], strike: Callable[..., None], tmp_path: Path
) -> None:
    paths = RunPaths(tmp_path / "stopped")
    strike(signal.SIGINT, epoch=1, batch=2, times=2)
    with pytest.raises(KeyboardInterrupt):
        bitstill.train.run(config, paths.directory)
    steps.clear()
    bitstill.train.run(config, paths.directory)
    assert steps == EVERY_STEP[BATCHES:], "it goes on from the last whole epoch"


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_handler_that_only_listens_stops_nothing(
    config: TrainConfig,
    undisturbed: RunPaths,
    steps: list[tuple[int, int]],
    strike: Callable[..., None],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    """As that of Slurm's launcher for SIGTERM, at which Lightning would end the run itself."""
    heard: list[int] = []
    signal.signal(number, lambda number, _: heard.append(number))
    strike(number, epoch=1, batch=2)
    steps.clear()
    paths = RunPaths(tmp_path / "run")
    bitstill.train.run(config, paths.directory)
    assert heard == [number]
    assert steps == EVERY_STEP
    assert paths.metrics.read_bytes() == undisturbed.metrics.read_bytes()


@pytest.mark.usefixtures("kept")
def test_a_handler_that_fails_interrupts_the_run(
    config: TrainConfig, strike: Callable[..., None], tmp_path: Path
) -> None:
    """Slurm does not take a job back, say: the run has not failed."""

    def refused(*_: Any) -> None:
        raise OSError("scontrol: not permitted")

    signal.signal(signal.SIGUSR2, refused)
    strike(signal.SIGUSR2, epoch=1, batch=2)
    paths = RunPaths(tmp_path / "run")
    line = r"^stopped, and not queued again: scontrol: not permitted$"
    with pytest.raises(StoppedError, match=line):
        bitstill.train.run(config, paths.directory)
    record = read_record(paths)
    assert record is not None
    assert record.status == "interrupted"


@pytest.mark.usefixtures("kept")
def test_a_signal_that_nobody_handles_ends_the_process(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does a worker of a parallel sweep, whose run is then begun again by another."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    step, found = Task.training_step, set()

    def look(self: Task, *arguments: Any) -> Any:
        found.add(signal.getsignal(signal.SIGTERM))
        return step(self, *arguments)

    monkeypatch.setattr(Task, "training_step", look)
    bitstill.train.run(config, tmp_path / "run")
    assert found == {signal.SIG_DFL}


def test_a_handler_that_python_has_not_put_there_is_left_alone(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library's in C, which nobody could put back."""
    known = signal.getsignal
    monkeypatch.setattr(
        "bitstill.training.interrupts.signal.getsignal",
        lambda number: None if number == signal.SIGUSR1 else known(number),
    )
    bitstill.train.run(config, tmp_path / "run")


def test_of_two_signals_none_is_lost() -> None:
    """Slurm may send both before a step has ended."""
    heard: list[int] = []
    callback = Interrupts(lambda _: None)
    callback._handlers = {
        number: lambda number, _: heard.append(number)
        for number in (signal.SIGTERM, signal.SIGUSR2)
    }
    callback._hold(signal.SIGTERM, None)
    callback._hold(signal.SIGUSR2, None)
    assert heard == []
    callback._let_through()
    assert heard == [signal.SIGTERM, signal.SIGUSR2]


def test_handlers_are_given_back(config: TrainConfig, tmp_path: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    bitstill.train.run(config, tmp_path / "run")
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.usefixtures("kept")
def test_a_signal_in_a_step_that_fails_is_let_through(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a sweep would begin its next run."""

    def strike_and_fail(self: Task, *_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        raise OSError("no space")

    monkeypatch.setattr(Task, "training_step", strike_and_fail)
    with pytest.raises(KeyboardInterrupt):
        bitstill.train.run(config, tmp_path / "run")
    record = read_record(RunPaths(tmp_path / "run"))
    assert record is not None
    assert record.status == "interrupted"


def test_ctrl_c_is_heard_again_after_an_interruption(
    config: TrainConfig, strike: Callable[..., None], tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)
    strike(signal.SIGINT, epoch=0, batch=2)
    with pytest.raises(KeyboardInterrupt):
        bitstill.train.run(config, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_holds_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    callback = Interrupts(lambda _: None)
    trainer, task = pl.Trainer(logger=False), pl.LightningModule()
    thread = threading.Thread(target=callback.on_train_start, args=(trainer, task))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
