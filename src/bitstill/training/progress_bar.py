"""The progress bar of a training, in a terminal or a notebook."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

import rich

from bitstill.training.lightning import pl


def progress_bar(name: str) -> pl.Callback:
    """Return a bar labelled ``name``, which should be short to leave room on the line."""
    # In a notebook, Rich draws nothing without ipywidgets.
    plain = rich.get_console().is_jupyter and find_spec("ipywidgets") is None
    return PlainBar(name) if plain else ProgressBar(name)


class PlainBar(pl.callbacks.TQDMProgressBar):
    """Lightning's plain-text bar with the same label."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def on_train_epoch_start(self, trainer: pl.Trainer, *arguments: Any) -> None:
        """Begin an epoch, counted from 1."""
        super().on_train_epoch_start(trainer, *arguments)
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.train_progress_bar.set_description(f"{self._name}, {epoch}")


class ProgressBar(pl.callbacks.RichProgressBar):
    """Lightning's bar with a label, epochs counted from 1, and the log above it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to draw; Rich's standard error then writes above the bar."""
        with _log_follows():
            super().on_train_start(trainer, pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """End the bar."""
        with _log_follows():
            super().teardown(trainer, pl_module, stage)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """End the bar after any exception, including an interrupt."""
        with _log_follows():
            super().on_exception(trainer, pl_module, exception)

    def _stop_progress(self) -> None:
        # If the terminal is closed, or the reader of a pipe is gone, Rich exits; the run is done.
        with suppress(OSError, SystemExit):
            super()._stop_progress()

    # Lightning offers no other way to set the description before the bar is first drawn.
    def _get_train_description(self, current_epoch: int) -> str:
        return f"{self._name}, epoch {current_epoch + 1}/{self.trainer.max_epochs}"


@contextmanager
def _log_follows() -> Iterator[None]:
    """Redirect a log on standard error when standard error is replaced."""
    before = sys.stderr
    yield
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(sys.stderr)
