"""The progress bar of one training in a terminal."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bitstill.training.lightning import pl


class ProgressBar(pl.callbacks.RichProgressBar):
    """Lightning's bar that says what it trains, counts epochs from 1, and stays below the log."""

    def __init__(self, name: str) -> None:
        """Draw it for ``name``; a short one, as the bar takes what is left of a terminal of 80."""
        super().__init__()
        self._name = name

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to draw; Rich's standard error writes above what is drawn."""
        with _log_follows():
            super().on_train_start(trainer, pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """End it."""
        with _log_follows():
            super().teardown(trainer, pl_module, stage)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """End it, whatever was raised: an interrupt, too."""
        with _log_follows():
            super().on_exception(trainer, pl_module, exception)

    # Lightning offers no other place for it before the bar is first drawn.
    def _get_train_description(self, current_epoch: int) -> str:
        return f"{self._name}, epoch {current_epoch + 1}/{self.trainer.max_epochs}"


@contextmanager
def _log_follows() -> Iterator[None]:
    """Let the log, where it writes to standard error, write to what that is afterwards."""
    before = sys.stderr
    yield
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(sys.stderr)
