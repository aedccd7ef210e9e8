"""Passes what a run writes to its loggers, and keeps their errors from the run."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bitstill.data import ImageData
from bitstill.errors import StoppedError, one_line
from bitstill.loggers.logged import Destination, mark_logged, not_logged
from bitstill.portable import portable_text
from bitstill.runs import Row, RunPaths, RunRecord, read_record
from bitstill.runs.curves import read_curves
from bitstill.runs.identity import directory_name
from bitstill.schema import TensorboardConfig, TrainConfig
from bitstill.training.lightning import pl

if TYPE_CHECKING:
    from bitstill.loggers.outcome import Outcome

log = logging.getLogger(__name__)

DONE, FAILED, INTERRUPTED = 0, 1, 255  # exit codes; wandb itself gives 255 for Ctrl-C


class RunLog(Protocol):
    """One logger for one run."""

    def log_rows(self, rows: Sequence[Row]) -> None:
        """Log the rows that are not logged yet."""

    def log_outcome(self, record: RunRecord, outcome: "Outcome") -> None:
        """Log the results of the finished run."""

    def close(self, exit_code: int, error: str) -> None:
        """End the logger's run, with the error that ended it, or an empty text."""


def log_finished(config: TrainConfig, paths: RunPaths, data: ImageData) -> None:
    """Log a finished run to the loggers that lack it, as when they were chosen only later."""
    record = read_record(paths)
    left = not_logged(config.logger, paths)
    if record is not None and left:
        loggers = Loggers(paths, left)
        loggers.open(config, record)
        with loggers.closed():
            loggers.finish(record, data)


class Loggers(pl.Callback):
    """The loggers of a run, called after the recorder: they log what ``metrics.csv`` holds.

    A resumed run's logger so gets what the stopped one had no time to write. A logger that raises
    is left out from then on, with one warning; training goes on.

    Args:
        paths: of the run.
        wanted: their settings, by destination; see :mod:`bitstill.loggers.logged`.
    """

    def __init__(self, paths: RunPaths, wanted: Mapping[str, Destination]) -> None:
        self._paths, self._wanted = paths, wanted
        self._logs: dict[str, RunLog] = {}
        self._has_outcome = False

    def open(self, config: TrainConfig, record: RunRecord) -> None:
        """Begin the loggers' runs."""
        for destination in self._wanted:
            self._guard(destination, partial(self._begin, destination, config, record))

    def _begin(self, destination: str, config: TrainConfig, record: RunRecord) -> None:
        self._logs[destination] = self._begun(self._wanted[destination], config, record)

    def _begun(self, settings: Destination, config: TrainConfig, record: RunRecord) -> RunLog:
        if isinstance(settings, TensorboardConfig):
            from bitstill.loggers.tensorboard_log import TensorboardLog

            return TensorboardLog(self._paths)
        from bitstill.loggers.wandb_log import WandbLog

        # The folder as the user wrote it, since wandb records it. A student's teacher, which trains
        # in the store, is logged with the sweep.
        folder, own = config.folder, self._paths.directory.parent
        if own.resolve() not in (folder.resolve(), Path(config.paths.teachers).resolve()):
            folder = Path(os.path.relpath(own))
        name = directory_name(config, record.identity)
        return WandbLog(settings, folder, record, name, group=config.name)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what the recorder has just written."""
        self._log_rows()

    def _log_rows(self) -> bool:
        """Log the curves; return whether they could be read."""

        def show() -> None:
            rows = read_curves(self._paths)
            self._each(lambda one: one.log_rows(rows))

        return not self._logs or self._guard("the curves", show)

    def finish(self, record: RunRecord, data: ImageData) -> None:
        """Log the rest of the curves, and the results."""
        if not self._log_rows() or not self._logs:
            return

        def show() -> None:
            from bitstill.loggers.outcome import outcome_of

            outcome = outcome_of(self._paths, record, data)
            self._each(lambda one: one.log_outcome(record, outcome))

        self._has_outcome = self._guard("the outcome", show)

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """End the loggers' runs when the body ends, fails or is interrupted.

        Without this, the next run of the process would go on in wandb's.
        """
        exit_code, said = DONE, ""
        try:
            yield
        except (KeyboardInterrupt, SystemExit, StoppedError):
            exit_code = INTERRUPTED
            raise
        except Exception as error:
            exit_code, said = FAILED, f"{type(error).__name__}: {portable_text(one_line(error))}"
            raise
        finally:
            self._close(exit_code, said)

    def _close(self, exit_code: int, error: str) -> None:
        self._each(lambda one: one.close(exit_code, error))
        if self._has_outcome:
            self._guard("the list of loggers", lambda: mark_logged(self._paths, self._logs))
        self._logs = {}

    def _each(self, act: Callable[[RunLog], None]) -> None:
        for name, one in list(self._logs.items()):
            if not self._guard(name, partial(act, one)):
                del self._logs[name]
                with contextlib.suppress(Exception):  # it has failed already
                    one.close(FAILED, "")

    def _guard(self, what: str, act: Callable[[], None]) -> bool:
        try:
            act()
        except Exception as error:  # noqa: BLE001  # no logger may end the run
            log.warning(
                "%s: not written any more (%s); the run goes on, and the same command, given "
                "again, logs what is missing",
                *(what, one_line(error)),
            )
            return False
        return True
