"""What a terminal or a notebook shows of a training."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.conftest import Configure

from bitstill.runs import RunPaths, read_record
from bitstill.train import run
from bitstill.training.tasks import StudentTask

pytestmark = pytest.mark.slow


Handler = Callable[[], "logging.StreamHandler[Any]"]


@pytest.fixture
def terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], restored: None
) -> Handler:
    """Begins to write the log to a terminal, as the command line does."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    root = logging.getLogger()

    def begin() -> "logging.StreamHandler[Any]":
        console = logging.StreamHandler(sys.stderr)
        monkeypatch.setattr(root, "handlers", [*root.handlers, console])
        root.setLevel(logging.INFO)
        return console

    return begin


def test_the_bar_says_what_it_trains_and_counts_from_one(
    configure: Configure,
    few_images: tuple[str, ...],
    tmp_path: Path,
    terminal: Handler,
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = terminal()
    config = configure(tmp_path, *few_images, "loss=soft", "schedule.epochs=2")
    record = run(config, str(tmp_path / "run"), progress=True)
    shown, err = capsys.readouterr()
    assert record.status == "done"
    assert shown.index("teacher, epoch 1/1") < shown.index("student, epoch 1/2")
    assert shown.index("student, epoch 1/2") < shown.index("student, epoch 2/2")
    assert "Epoch" not in shown
    for line in ("epoch 1 of 2: train loss", "epoch 2 of 2: train loss"):
        assert line in shown, "above the bar"
        assert line not in err, "into the bar"
    assert handler.stream is sys.stderr


def test_the_log_has_its_stream_again_after_a_failure(
    configure: Configure,
    few_images: tuple[str, ...],
    tmp_path: Path,
    terminal: Handler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler, before = terminal(), sys.stderr

    def fail(*_: object) -> None:
        assert handler.stream is sys.stderr
        assert handler.stream is not before
        raise ArithmeticError("in a step")

    monkeypatch.setattr(StudentTask, "training_step", fail)
    config = configure(tmp_path, *few_images, "loss=hard")
    with pytest.raises(ArithmeticError, match="in a step"):
        run(config, tmp_path / "run", progress=True)
    assert handler.stream is sys.stderr is before


@pytest.mark.parametrize("opened", [os.pipe, os.openpty])
def test_a_run_is_done_whose_reader_has_left(
    configure: Configure,
    few_images: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: Callable[[], tuple[int, int]],
    restored: None,
) -> None:
    """A pipe into ``head``, and a terminal that was closed."""
    reading, writing = opened()
    os.close(reading)
    config = configure(tmp_path, *few_images, "loss=hard")
    with suppress(OSError), os.fdopen(writing, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        run(config, tmp_path / "run", progress=True)
    record = read_record(RunPaths(tmp_path / "run"))
    assert record is not None
    assert record.status == "done"


def test_a_notebook_without_widgets_has_a_bar_of_text(
    configure: Configure,
    few_images: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored: None,
) -> None:
    monkeypatch.setattr("rich.get_console", lambda: Console(force_jupyter=True))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    config = configure(tmp_path, *few_images, "loss=hard", "schedule.epochs=2")
    run(config, tmp_path / "run", progress=True)
    shown = capsys.readouterr().out
    assert "student, epoch 1/2: 100%" in shown
    assert "student, epoch 2/2: 100%" in shown
