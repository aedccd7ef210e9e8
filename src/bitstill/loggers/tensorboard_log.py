"""TensorBoard: a run's curves, its hyperparameters with the results, and its pictures."""

import shutil
from collections.abc import Sequence

import numpy as np

from bitstill.loggers.names import EPOCH, results, science
from bitstill.loggers.outcome import Outcome
from bitstill.runs import Row, RunPaths, RunRecord
from bitstill.training.lightning import pl

FOLDER = "tensorboard"


class TensorboardLog:
    """Writes event files into ``tensorboard/`` in the run's folder.

    Begun anew with every sitting and filled from ``metrics.csv``: a run that was killed has no row
    twice, and no torn one.

    Args:
        paths: of the run.
    """

    def __init__(self, paths: RunPaths) -> None:
        shutil.rmtree(paths.directory / FOLDER, ignore_errors=True)
        self._logger = pl.loggers.TensorBoardLogger(
            paths.directory, name=None, version=FOLDER, default_hp_metric=False
        )
        self._through = 0.0

    def log_rows(self, rows: Sequence[Row]) -> None:
        """Log the curves, the epoch as step; see :class:`~bitstill.loggers.callback.RunLog`."""
        for row in rows:
            if row[EPOCH] > self._through:
                metrics = {name: value for name, value in row.items() if name != EPOCH}
                self._logger.log_metrics(metrics, step=int(row[EPOCH]))
                self._through = row[EPOCH]
        self._logger.experiment.flush()

    def log_outcome(self, record: RunRecord, outcome: Outcome) -> None:
        """Fill the hparams tab, and show the pictures."""
        self._logger.log_hyperparams(
            science(record), {**results(record), **outcome.sizes}, step=record.epoch
        )
        writer = self._logger.experiment
        for name, picture in outcome.pictures.items():
            pixels = np.asarray(picture.convert("RGB"))
            writer.add_image(name, pixels, record.epoch, dataformats="HWC")

    def close(self, exit_code: int, error: str) -> None:
        """Close the event file."""
        self._logger.experiment.close()
