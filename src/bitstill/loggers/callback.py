"""Hands what a run writes to its loggers, and keeps their troubles away from it."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bitstill.curves import read_curves
from bitstill.data import ImageData
from bitstill.identity import directory_name
from bitstill.lightning import pl
from bitstill.runs import Row, RunPaths, RunRecord, read_record
from bitstill.schema import LoggerConfig, TrainConfig

if TYPE_CHECKING:
    from bitstill.loggers.outcome import Outcome

log = logging.getLogger(__name__)

DONE, FAILED, INTERRUPTED = 0, 1, 255  # exit codes; the last is what wandb gives for Ctrl-C


class RunLog(Protocol):
    """One logger of one run."""

    def log_rows(self, rows: Sequence[Row]) -> None:
        """Log those of all rows so far that are not logged yet."""

    def log_outcome(self, record: RunRecord, outcome: "Outcome") -> None:
        """Log what the finished run came to."""

    def close(self, exit_code: int) -> None:
        """End the logger's run."""


def log_again(config: TrainConfig, paths: RunPaths, data: ImageData) -> None:
    """Log a finished run that lies in a second folder: a teacher from the store, for TensorBoard.

    In wandb it is one run, which was logged when it was trained.
    """
    loggers = Loggers(paths, dataclasses.replace(config.logger, wandb=None))
    record = read_record(paths)
    if record is not None:
        loggers.open(config, record)
        loggers.finish(record, data)
        loggers.close(DONE)


class Loggers(pl.Callback):
    """The loggers of a run, behind the recorder: what they log is read from ``metrics.csv``.

    A resumed run's logger so gets what the stopped one had no time to write. A logger that raises
    is left out from then on, with one warning; training goes on.

    Args:
        paths: of the run.
        settings: which loggers.
    """

    def __init__(self, paths: RunPaths, settings: LoggerConfig) -> None:
        self._paths, self._settings = paths, settings
        self._logs: list[RunLog] = []

    def open(self, config: TrainConfig, record: RunRecord) -> None:
        """Begin the loggers' runs."""
        if self._settings.tensorboard is not None:
            from bitstill.loggers.tensorboard_log import TensorboardLog

            self._guard("TensorBoard", lambda: self._logs.append(TensorboardLog(self._paths)))
        wandb_settings = self._settings.wandb
        if wandb_settings is not None:
            from bitstill.loggers.wandb_log import WandbLog

            folder = Path(config.paths.output) / config.name
            name = directory_name(config, record.identity)

            def begin() -> None:
                self._logs.append(WandbLog(wandb_settings, folder, record, name))

            self._guard("wandb", begin)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what the recorder has just written."""
        self._log_rows()

    def _log_rows(self) -> None:
        if self._logs:
            rows = read_curves(self._paths)
            self._each(lambda one: one.log_rows(rows))

    def finish(self, record: RunRecord, data: ImageData) -> None:
        """Log what is left of the curves, and what the run came to."""
        if not self._logs:
            return
        self._log_rows()
        wandb_settings = self._settings.wandb
        artifacts = wandb_settings is not None and wandb_settings.log_artifacts

        def show() -> None:
            from bitstill.loggers.outcome import outcome_of

            outcome = outcome_of(self._paths, record, data, artifacts=artifacts)
            self._each(lambda one: one.log_outcome(record, outcome))

        self._guard("the outcome", show)

    def close(self, exit_code: int) -> None:
        """End the loggers' runs: without this, the next of the process would go on in wandb's."""
        self._each(lambda one: one.close(exit_code))
        self._logs = []

    def _each(self, act: Callable[[RunLog], None]) -> None:
        for one in list(self._logs):
            if not self._guard(type(one).__name__, lambda one=one: act(one)):  # type: ignore[misc]
                self._logs.remove(one)
                with contextlib.suppress(Exception):  # it has raised before
                    one.close(FAILED)

    def _guard(self, what: str, act: Callable[[], None]) -> bool:
        try:
            act()
        except Exception as error:  # noqa: BLE001  # whatever a logger does, the run goes on
            first = (str(error) or type(error).__name__).splitlines()[0]
            log.warning("%s is not logged any more (%s); the run goes on", what, first)
            return False
        return True
