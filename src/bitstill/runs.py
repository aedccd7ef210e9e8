"""What a run leaves behind: its identity, its record and its files.

The only place that knows the files of a run. It imports neither torch nor Lightning, so that a
sweep of hundreds of runs can be planned and looked at in a moment.
"""

import csv
import dataclasses
import fcntl
import hashlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bitstill.errors import UserError
from bitstill.reading import fits, reading
from bitstill.schema import ModelConfig, TrainConfig

log = logging.getLogger(__name__)

# Raise this when the same configuration gives another result than before.
RESULT_VERSION = 2
# Raise this when run.json changes its shape.
SCHEMA_VERSION = 1

Status = Literal["running", "done", "failed", "interrupted"]
Row = dict[str, float]


def teacher_of(config: TrainConfig) -> TrainConfig:
    """Return the configuration of the run that trains a student's teacher."""
    return dataclasses.replace(
        config,
        model=ModelConfig(_target_="bitstill.models.Teacher"),
        seed=config.teacher.seed,
        schedule=config.teacher.schedule,
        sweep=dataclasses.replace(config.sweep, rerun="failed"),  # not with each of its students
    )


def identity(config: TrainConfig, data_identity: str) -> str:
    """Hash everything that decides a run's result, and nothing else.

    Paths, loggers and threads are left out; so is what the run's model or loss does not read: a
    teacher has no temperature, and ``hard`` no teacher.

    Args:
        config: the run.
        data_identity: the checksum of its images, labels and splits.

    Returns:
        SHA-256, 64 hexadecimal digits.
    """
    parts: dict[str, Any] = {
        "result_version": RESULT_VERSION,
        "data": data_identity,
        "model": config.model,
        "batch_norm": config.batch_norm,
        "schedule": config.schedule,
        "seed": config.seed,
        "evaluation": config.evaluation,
        "accelerator": config.trainer.accelerator,
        "precision": config.trainer.precision,
    }
    if not config.is_teacher:
        parts |= {
            "quantizer": config.quantizer,
            "loss": config.loss,
            "temperature": config.temperature,
        }
    if config.needs_soft_weight:
        parts["soft_weight"] = config.soft_weight
    if config.needs_teacher:
        parts["teacher"] = identity(teacher_of(config), data_identity)
    text = json.dumps(parts, sort_keys=True, default=dataclasses.asdict)
    return hashlib.sha256(text.encode()).hexdigest()


def directory_name(config: TrainConfig, run_identity: str) -> str:
    """Return the name of a run's folder: what a person looks for, then the identity's beginning."""
    student = f"{config.loss_name}-T{config.temperature.value:g}"
    label = "teacher" if config.is_teacher else student
    return f"{label}-seed{config.seed}-{run_identity[:10]}"


def portable(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration as plain values, without the folders of this machine."""
    plain = dataclasses.asdict(config)
    for key in ("paths", "logger", "sweep"):
        del plain[key]
    folders = ("path", "cache")
    plain["data"] = {"source": type(config.data).__name__.lower()} | {
        key: value for key, value in plain["data"].items() if key not in folders
    }
    return plain


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old one or the new one whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)  # mkstemp's files are private
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class RunPaths:
    """The files of a run."""

    directory: Path

    @property
    def record(self) -> Path:
        """The record, JSON."""
        return self.directory / "run.json"

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

    def clear(self) -> None:
        """Remove what training wrote, so that it begins anew; the log and the lock stay."""
        written = (
            *(self.record, self.metrics, self.correctness, self.teacher_logits, self.packed),
            *(self.checkpoint, self.previous_checkpoint, self.weights, self.best_val_weights),
        )
        for path in written:
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
        """The command-line arguments that made it, a YAML list."""
        return self.directory / ".hydra" / "overrides.yaml"


@dataclass(frozen=True)
class RunRecord:
    """What is known about a run; ``run.json``.

    Accuracies are fractions. ``selections`` maps ``running`` and ``precise`` to the three choices
    of an epoch: ``last``; ``best_val``, on validation images; and ``best_test``, which is selection
    on the test set, as published. A choice gives ``epoch`` (from 1) and the accuracies there.

    Attributes:
        status: ``running``, ``done``, ``failed`` or ``interrupted``.
        identity: the hash of what decides the result.
        model: ``teacher`` or ``student``.
        loss: name of the loss.
        temperature: T; None for a teacher.
        seed: of initialization and order.
        epoch: finished epochs.
        epochs: planned epochs.
        config: the resolved configuration without folders.
        data_identity: checksum of images, labels and splits.
        teacher_identity: of the teacher that was read, or None.
        images: how many there are in each split.
        seconds: spent in training and evaluation, over all sittings.
        images_per_second: training images through the student or teacher in a second of that.
        selections: see above.
        sizes: bytes, by name.
        checksums: SHA-256 of the files of weights, by their name.
        versions: of Python and of the packages that compute.
        git_commit: of a checkout, or None.
        device: what it ran on.
        error: of a failed run: ``type``, ``message``, ``traceback``.
    """

    status: Status
    identity: str
    model: str
    loss: str
    temperature: float | None
    seed: int
    epoch: int
    epochs: int
    config: dict[str, Any]
    data_identity: str
    teacher_identity: str | None
    images: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    images_per_second: float = 0.0
    selections: dict[str, dict[str, Row | None]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    device: str = ""
    error: dict[str, str] | None = None
    schema_version: int = SCHEMA_VERSION

    def write(self, paths: RunPaths) -> None:
        """Write ``run.json``, atomically."""
        text = json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False)
        write_atomically(paths.record, text.encode() + b"\n")

    @property
    def cell(self) -> str:
        """The entry of a table that this run fills, seeds aside."""
        return "teacher" if self.temperature is None else f"{self.loss} T={self.temperature:g}"


def read_record(paths: RunPaths) -> RunRecord | None:
    """Read a run's record, or None where there is none yet.

    Raises:
        UserError: the file is no record of a schema version that this code knows.
    """
    try:
        plain = json.loads(paths.record.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{paths.record} cannot be read: {error}; move it away") from error
    if not isinstance(plain, dict) or plain.get("schema_version") != SCHEMA_VERSION:
        found = plain.get("schema_version") if isinstance(plain, dict) else None
        raise UserError(
            f"{paths.record} has schema version {found}, and this bitstill reads {SCHEMA_VERSION}: "
            "use the bitstill that wrote it"
        )
    for name, annotation in get_type_hints(RunRecord).items():
        if name in plain and not fits(plain[name], annotation):
            raise UserError(f"{paths.record} is no run record: its {name} is wrong; move it away")
    try:
        return RunRecord(**plain)
    except TypeError as error:
        raise UserError(f"{paths.record} is no run record: {error}; move it away") from error


@contextmanager
def exclusive(paths: RunPaths) -> Iterator[None]:
    """Work on a run alone, after whichever process works on it now."""
    paths.directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another process, which works on %s", paths.directory)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_worked_on(paths: RunPaths) -> bool:
    """Whether a process holds a run; a record that says ``running`` may outlive its process."""
    try:
        with paths.lock.open("rb") as file:  # as an onlooker, who may not be allowed to write
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def is_done(paths: RunPaths, run_identity: str) -> bool:
    """Whether a directory holds the finished run of an identity."""
    record = read_record(paths)
    return record is not None and record.status == "done" and record.identity == run_identity


def load_sweep(directory: Path) -> list[RunRecord]:
    """Read all records in the folders of a sweep, in the order of their names."""
    found = (read_record(RunPaths(path.parent)) for path in sorted(directory.glob("*/run.json")))
    return [record for record in found if record is not None]


def write_curves(paths: RunPaths, rows: Sequence[Mapping[str, float]]) -> None:
    """Write ``metrics.csv``, atomically; numbers in full, so that they read back the same."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(paths.metrics, text.getvalue().encode())


def read_curves(paths: RunPaths) -> list[Row]:
    """Read ``metrics.csv``: a row an epoch.

    Raises:
        UserError: it is damaged.
    """
    with reading(paths.metrics, "move it away"), paths.metrics.open(newline="") as file:
        return [
            {name: float(text) for name, text in row.items() if text}
            for row in csv.DictReader(file)
        ]


def read_correctness(paths: RunPaths) -> dict[str, NDArray[np.bool_]]:
    """Read which test images are right, by ``<statistics>/<selection>``; empty without the file.

    The bits come in whole bytes, so how many of them are images is taken from the record.

    Raises:
        UserError: it is damaged.
    """
    record = read_record(paths)
    if record is None or not paths.correctness.exists():
        return {}
    with (
        reading(paths.correctness, "move it away"),
        paths.correctness.open("rb") as file,  # np.load itself leaves a damaged one open
        np.load(file, allow_pickle=False) as packed,
    ):
        count = record.images["test"]
        bits = {name: packed[name] for name in packed.files}
        if any(one.shape != (-(-count // 8),) for one in bits.values()):
            raise ValueError(f"it is not of {count} test images")
        return {
            name: np.unpackbits(one, count=count).astype(np.bool_) for name, one in bits.items()
        }


def _accuracies(row: Row, suffix: str) -> Iterator[tuple[str, float]]:
    for split in ("val", "test"):
        name = f"{split}/accuracy"
        if name + suffix in row:
            yield name, row[name + suffix]


def select(rows: Sequence[Row], statistics: Sequence[str]) -> dict[str, dict[str, Row | None]]:
    """Choose the three epochs of a run, for each kind of batch norm statistics.

    Of equal accuracies the first epoch is chosen. Without validation images ``best_val`` is None.
    """
    chosen: dict[str, dict[str, Row | None]] = {}
    for kind in statistics:
        suffix = "" if kind == "running" else f"_{kind}"

        def at(row: Row, suffix: str = suffix) -> Row:
            return {"epoch": row["epoch"], **dict(_accuracies(row, suffix))}

        def best(name: str, suffix: str = suffix) -> Row | None:
            column = f"{name}/accuracy{suffix}"
            rated = [row for row in rows if column in row]
            return at(max(rated, key=lambda row: row[column]), suffix) if rated else None

        chosen[kind] = {"last": at(rows[-1]), "best_val": best("val"), "best_test": best("test")}
    return chosen
