"""The files of a run; no other module knows their names."""

from dataclasses import dataclass
from pathlib import Path


class _File:
    """An attribute of :class:`RunPaths`: the path of a file in the run's folder."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __get__(self, run: "RunPaths", _: type) -> Path:
        return run.directory.joinpath(*self._parts)


@dataclass(frozen=True)
class RunPaths:
    """The files of a run."""

    directory: Path

    record = _File("run.json")
    damaged_record = _File("run.json.damaged")  # one that cannot be read, once its run goes on
    metrics = _File("metrics.csv")  # the curves, a row an epoch
    checkpoint = _File("last.ckpt")  # what training goes on from: weights, optimizer, curves
    previous_checkpoint = _File("previous.ckpt")  # the one before it, should that be damaged
    lock = _File("run.lock")  # held by the process that works on the run
    weights = _File("weights.safetensors")  # with batch norm statistics, after the last epoch
    best_val_weights = _File("best_val.safetensors")  # of the best validation accuracy
    packed = _File("student.bitstill")  # as it is deployed: integers of the last epoch
    # For each kind of statistics and selection, a bit a test image: right or wrong.
    correctness = _File("correctness.npz")
    # What a report measured of the two gradients, kept for when there are no weights.
    gradients = _File("gradients.json")
    logged = _File("logged.json")  # which loggers have had it: :mod:`bitstill.loggers.logged`
    teacher_logits = _File("train_logits.safetensors")  # a teacher's, over the training images
    # Hydra's copies: the configuration, with folders; the settings on the command line that made
    # it, a list; its own configuration, with folders.
    composed = _File(".hydra", "config.yaml")
    overrides = _File(".hydra", "overrides.yaml")
    hydra = _File(".hydra", "hydra.yaml")

    @property
    def written(self) -> tuple[Path, ...]:
        """The files that training writes, except log and lock."""
        return (
            *(self.record, self.metrics, self.correctness, self.teacher_logits, self.packed),
            self.logged,
            *(self.checkpoint, self.previous_checkpoint, self.weights, self.best_val_weights),
        )

    def clear(self) -> None:
        """Remove the files that training wrote, so that it starts anew; log and lock stay."""
        for path in self.written:
            path.unlink(missing_ok=True)
