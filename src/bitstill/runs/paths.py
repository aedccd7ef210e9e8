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
    damaged_record = _File("run.json.damaged")  # where a resumed run moves an unreadable one
    metrics = _File("metrics.csv")  # the curves, one row per epoch
    checkpoint = _File("last.ckpt")  # to resume from: weights, optimizer, curves
    previous_checkpoint = _File("previous.ckpt")  # the one before, if the last is damaged
    lock = _File("run.lock")  # held by the process that works on the run
    weights = _File("weights.safetensors")  # and batch norm statistics, of the last epoch
    best_val_weights = _File("best_val.safetensors")  # the same of the best on validation images
    packed = _File("student.bitstill")  # the deployed integers of the last epoch
    # For each kind of statistics and selection of an epoch, one bit per test image: right or wrong.
    correctness = _File("correctness.npz")
    # The gradient norms that a report has measured, kept for copies without weights.
    gradients = _File("gradients.json")
    logged = _File("logged.json")  # which loggers have the run: :mod:`bitstill.loggers.logged`
    teacher_logits = _File("train_logits.safetensors")  # of a teacher, for all training images
    # Hydra's copies: the configuration, with folders of this machine; the list of settings on the
    # command line; Hydra's own configuration, also with folders.
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
