"""The callback that measures after every epoch and writes the run's files."""

import dataclasses
import hashlib
import logging
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitstill.data import ImageData
from bitstill.engine.packed import to_bytes
from bitstill.errors import UserError
from bitstill.files import write_atomically
from bitstill.integer import has_integer_form, integer_network
from bitstill.models import Network, Student
from bitstill.packing import describe_selection, pack
from bitstill.runs import Row, RunPaths, RunRecord, Status
from bitstill.runs.correctness import write_correctness
from bitstill.runs.curves import select, under, write_curves
from bitstill.schema import EvaluationConfig
from bitstill.training.checkpoints import rotate_checkpoint
from bitstill.training.evaluation import borrowed_statistics, disagreement, evaluate
from bitstill.training.lightning import pl
from bitstill.training.tasks import DivergedError, Task
from bitstill.training.weights import are_finite, save_weights

log = logging.getLogger(__name__)


class Recorder(pl.Callback):
    """Writes ``run.json``, ``metrics.csv``, checkpoint, weights and per-image correctness.

    Args:
        paths: the run's files.
        record: the record that the run begins with.
        data: images to evaluate on.
        evaluation: how to evaluate.
    """

    def __init__(
        self, paths: RunPaths, record: RunRecord, data: ImageData, evaluation: EvaluationConfig
    ) -> None:
        self.paths, self.record = paths, record
        self._data, self._evaluation = data, evaluation
        self._rows: list[Row] = []
        self._correct: dict[str, Tensor] = {}  # eight images per byte
        self._exact: dict[str, Tensor] = {}  # batch norm statistics after the latest epoch
        self._begun = time.perf_counter()  # on resume, minus earlier processes' time

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs from the checkpoint."""
        return {
            "identity": self.record.identity,
            "rows": self._rows,
            "correct": self._correct,
            "exact": self._exact,
            "seconds": self._seconds(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint.

        Raises:
            UserError: it belongs to another run.
        """
        if state_dict["identity"] != self.record.identity:
            raise UserError(
                f"{self.paths.checkpoint} belongs to another run ({state_dict['identity'][:10]}, "
                f"and this is {self.record.identity[:10]}): move it away"
            )
        self._rows = state_dict["rows"]
        self._correct = state_dict["correct"]
        self._exact = state_dict["exact"]
        self._begun -= state_dict["seconds"]

    def _seconds(self) -> float:
        return time.perf_counter() - self._begun

    def _write(self, status: Status, **changes: Any) -> None:
        seconds, epoch = self._seconds(), len(self._rows)
        schedule = self.record.config["schedule"]
        count = len(self._data.train) // schedule["batch_size"] * schedule["batch_size"]
        self.record = dataclasses.replace(
            self.record,
            status=status,
            epoch=epoch,
            seconds=round(seconds, 3),
            images_per_second=round(epoch * count / seconds, 1),
            selections=select(self._rows, self._evaluation.statistics) if self._rows else {},
            **changes,
        )
        self.record.write(self.paths)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record that the run is running."""
        self._write("running")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate, and update the run's files."""
        assert isinstance(pl_module, Task)  # noqa: S101  # the recorder is used with no other
        network = pl_module.network
        self._check_finite(network)
        correct, self._exact = evaluate(network, self._data, self._evaluation)
        self._rows.append(
            {
                "epoch": trainer.current_epoch + 1,
                **pl_module.epoch_settings(),
                **pl_module.training_metrics(),
                **{name: right.double().mean().item() for name, right in correct.items()},
            }
        )
        self._keep(network, correct)
        self.save(trainer)
        write_curves(self.paths, self._rows)
        self._write("running")
        log.info(
            "%s: epoch %d of %d: train loss %.4g, test accuracy %.2f %%",
            self.record.cell,
            len(self._rows),
            self.record.epochs,
            self._rows[-1]["train/loss"],
            100 * self._rows[-1][under("test/accuracy", self._evaluation.deciding)],
        )

    def save(self, trainer: pl.Trainer) -> None:
        """Write a checkpoint, and keep the previous one."""
        rotate_checkpoint(self.paths)
        trainer.save_checkpoint(self.paths.checkpoint)

    def _check_finite(self, network: Network) -> None:
        """Detect weights that the last step of an epoch broke, before any result is kept.

        Raises:
            DivergedError: a parameter or statistic is NaN or infinite.
        """
        if not are_finite(network):
            raise DivergedError(
                f"the weights became NaN or infinite in epoch {len(self._rows) + 1}: "
                "lower schedule.learning_rates, or soft_weight"
            )

    def _keep(self, network: Network, correct: dict[str, Tensor]) -> None:
        """Keep this epoch's per-image results and weights if the epoch is a selected one."""
        chosen = select(self._rows, self._evaluation.statistics)
        for kind, selections in chosen.items():
            for selection, row in selections.items():
                if row is not None and row["epoch"] == len(self._rows):
                    bits = np.packbits(correct[under("test/accuracy", kind)].numpy(force=True))
                    self._correct[f"{kind}/{selection}"] = torch.from_numpy(bits)
        best = chosen[self._evaluation.deciding]["best_val"]
        if best is not None and best["epoch"] == len(self._rows):
            save_weights(network, self.paths.best_val_weights, self._exact)

    def finish(self, network: Network) -> RunRecord:
        """Write the files of a finished run, its record last.

        Raises:
            RuntimeError: epochs are missing, so the run is not finished.
        """
        if len(self._rows) != self.record.epochs:
            raise RuntimeError(
                f"the training ended after {len(self._rows)} of {self.record.epochs} epochs"
            )
        write_curves(self.paths, self._rows)  # complete even if killed after the last checkpoint
        save_weights(network, self.paths.weights, self._exact)
        write_correctness(self.paths, {name: bits.numpy() for name, bits in self._correct.items()})
        sizes = {
            "checkpoint": self.paths.checkpoint.stat().st_size,
            "float32": 4 * sum(parameter.numel() for parameter in network.parameters()),
            "deployed": (
                self._write_packed(network) if has_integer_form(network) else _folded_size(network)
            ),
        }
        files = [self.paths.weights, self.paths.best_val_weights]
        checksums = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.exists()
        }
        self.paths.previous_checkpoint.unlink(missing_ok=True)
        self._write("done", sizes=sizes, checksums=checksums)
        return self.record

    def _write_packed(self, network: Student) -> int:
        """Write the student in its deployed form, and return the file's size in bytes."""
        kind = self._evaluation.deciding
        test = self._data.test.images
        network.to(test.device)  # Lightning moves it to the CPU after training
        with borrowed_statistics(network, self._exact):
            integers = integer_network(network)
            wrong = disagreement(network, test, batch_size=self._evaluation.batch_size)
        log.info(
            "in float32, which rounds, %d of %d test images would be classified differently",
            wrong,
            len(test),
        )
        model = pack(
            integers,
            classes=self._data.names,
            identity=self.record.identity,
            test_accuracy=self._rows[-1][under("test/accuracy", kind)],
            selection=describe_selection("last", len(self._rows), kind),
        )
        content = to_bytes(model)
        write_atomically(self.paths.packed, content)
        return len(content)


def _folded_size(network: Network) -> int:
    """Return the bytes of a network in float32 with batch norm folded into its convolutions."""
    weights = [*network.classifier.parameters()]
    for block in network.stages():
        weights += block.conv.parameters()
    return 4 * sum(weight.numel() for weight in weights)
