"""The files of a run; no other place knows their names."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPaths:
    """The files of a run."""

    directory: Path

    @property
    def record(self) -> Path:
        """The record, JSON."""
        return self.directory / "run.json"

    @property
    def damaged_record(self) -> Path:
        """Where a record goes that cannot be read, when its run is begun again."""
        return self.directory / "run.json.damaged"

    @property
    def metrics(self) -> Path:
        """The curves, a row an epoch, CSV."""
        return self.directory / "metrics.csv"

    @property
    def checkpoint(self) -> Path:
        """What training goes on from: weights, optimizer, curves."""
        return self.directory / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        """The checkpoint before it, should that one be damaged."""
        return self.directory / "previous.ckpt"

    @property
    def lock(self) -> Path:
        """Held by the process that works on the run."""
        return self.directory / "run.lock"

    @property
    def weights(self) -> Path:
        """Weights and batch norm statistics after the last epoch, safetensors."""
        return self.directory / "weights.safetensors"

    @property
    def best_val_weights(self) -> Path:
        """The same after the epoch with the best validation accuracy."""
        return self.directory / "best_val.safetensors"

    @property
    def packed(self) -> Path:
        """The student as it is deployed: integers of the last epoch, packed."""
        return self.directory / "student.bitstill"

    @property
    def correctness(self) -> Path:
        """For each kind of statistics and selection, a bit a test image: right or wrong; NumPy."""
        return self.directory / "correctness.npz"

    @property
    def gradients(self) -> Path:
        """What a report measured of the two gradients, kept for when there are no weights; JSON."""
        return self.directory / "gradients.json"

    @property
    def logged(self) -> Path:
        """Which loggers have had the finished run, JSON; see :mod:`bitstill.loggers.logged`."""
        return self.directory / "logged.json"

    @property
    def written(self) -> tuple[Path, ...]:
        """What training writes, but for the log and the lock."""
        return (
            *(self.record, self.metrics, self.correctness, self.teacher_logits, self.packed),
            self.logged,
            *(self.checkpoint, self.previous_checkpoint, self.weights, self.best_val_weights),
        )

    def clear(self) -> None:
        """Remove what training wrote, so that it begins anew; the log and the lock stay."""
        for path in self.written:
            path.unlink(missing_ok=True)

    @property
    def teacher_logits(self) -> Path:
        """A teacher's logits over the training images, safetensors."""
        return self.directory / "train_logits.safetensors"

    @property
    def composed(self) -> Path:
        """Hydra's copy of the configuration, with folders, YAML; written beside the record."""
        return self.directory / ".hydra" / "config.yaml"

    @property
    def overrides(self) -> Path:
        """The settings on the command line that made it, a YAML list; kept, with its flags."""
        return self.directory / ".hydra" / "overrides.yaml"

    @property
    def hydra(self) -> Path:
        """Hydra's copy of its own configuration, with folders, YAML."""
        return self.directory / ".hydra" / "hydra.yaml"
