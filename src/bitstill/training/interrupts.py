"""Delays signals until training can resume from where they arrived."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from bitstill.errors import StoppedError, one_line
from bitstill.training.lightning import pl

# Ctrl-C, kill's default, and the signals that Slurm is asked to send before it ends a job.
_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Interrupts(pl.Callback):
    """Delays a signal to the end of the step, saves a checkpoint, then delivers it.

    The signal then goes to the handler that was set when this callback was made: Python's raises
    KeyboardInterrupt; that of Slurm's launcher requeues its job or does nothing. A second signal of
    the same kind is delivered at once. Signals without a handler end the process as usual. Outside
    of the main thread, no signal is delayed.

    Args:
        save: writes a checkpoint.
    """

    def __init__(self, save: Callable[[pl.Trainer], None]) -> None:
        self._save = save
        self._before = {number: signal.getsignal(number) for number in _HELD}
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._struck: list[int] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Handle signals instead of Lightning, which would end any run at SIGTERM itself."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self._before.items():
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._hold)
            elif handler is not None:  # None is a handler that Python did not set: keep it
                signal.signal(number, handler)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if number in self._struck:
            self._struck.clear()
            self._handlers[number](number, frame)
        else:
            self._struck.append(number)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save and deliver, except after the last step of an epoch, whose end follows at once."""
        if self._struck and batch_idx + 1 < trainer.num_training_batches:
            self._save(trainer)
            self._let_through()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Deliver a signal: the epoch has just been saved."""
        self._let_through()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the signal handlers."""
        self._release()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Restore the signal handlers."""
        self._release()

    def _let_through(self) -> None:
        struck, self._struck = self._struck, []
        for number in struck:
            try:
                self._handlers[number](number, None)
            except Exception as error:  # for example, Slurm refuses to requeue the job
                raise StoppedError(f"stopped, and not queued again: {one_line(error)}") from error

    def _release(self) -> None:
        for number, handler in self._handlers.items():
            # After Ctrl-C, Lightning ignores further ones, or may have restored its own handler.
            if signal.getsignal(number) in (self._hold, signal.SIG_IGN):
                signal.signal(number, handler)
        self._let_through()  # a signal during a failed step, or after the last step
        self._handlers = {}
