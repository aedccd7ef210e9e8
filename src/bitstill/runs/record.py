"""The record of a run, and reading one that may be damaged or foreign."""

import dataclasses
import errno
import functools
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from bitstill.errors import UserError, printable
from bitstill.files import write_atomically
from bitstill.reading import fits, loads, not_allowed
from bitstill.runs.identity import cell_name, identity
from bitstill.runs.paths import RunPaths
from bitstill.schema import STATISTICS, TrainConfig

log = logging.getLogger(__name__)

# Raise this when the format of run.json changes.
SCHEMA_VERSION = 1

Status = Literal["running", "done", "failed", "interrupted"]
ENDED = ("done", "failed")
Row = dict[str, float]  # the metrics of an epoch, by their columns in metrics.csv


_SELECTIONS = {"last", "best_val", "best_test"}
_MEASURED = {"epoch", "test/accuracy"}
_ERROR = {"type", "message", "traceback"}
_NUMBERS = ("seed", "epoch", "epochs", "seconds", "images_per_second")
_TOO_MANY = 2**63


@dataclass(frozen=True)
class RunRecord:
    """The record of a run: ``run.json``.

    Accuracies are fractions. ``selections`` maps ``running`` and ``precise`` to the three choices
    of an epoch: ``last``; ``best_val``, on validation images; and ``best_test``, which is selection
    on the test set, as published. A choice gives ``epoch`` (from 1) and the accuracies there.

    Attributes:
        status: ``running``, ``done``, ``failed`` or ``interrupted``.
        identity: the hash of what decides the result.
        model: ``teacher`` or ``student``.
        loss: the name of the loss; ``hard`` for a teacher, which learns from labels alone.
        temperature: T; None for a teacher.
        seed: seeds the initialization and the order of images.
        epoch: how many epochs are finished.
        epochs: how many epochs are planned.
        config: the resolved configuration without folders.
        data_identity: the checksum of images, labels and splits.
        teacher_identity: the identity of the teacher that the loss reads, or None.
        images: the number of images in each split.
        classes: the names of the classes, by label; empty in older records.
        seconds: the time of training and evaluation, over all attempts.
        images_per_second: training images per second of that time.
        selections: see above.
        sizes: the model's sizes in bytes, by kind.
        checksums: the SHA-256 of each file of weights, by its name.
        versions: the versions of Python and of the packages that compute.
        git_commit: the checkout's commit, with ``-dirty`` if code was changed since; or None.
        device: what the run was trained on.
        error: a failed run's error: ``type``, ``message``, ``traceback``.
    """

    status: Status
    identity: str
    model: Literal["teacher", "student"]
    loss: str
    temperature: float | None
    seed: int
    epoch: int
    epochs: int
    config: dict[str, Any]
    data_identity: str
    teacher_identity: str | None
    images: dict[str, int] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
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
    def is_teacher(self) -> bool:
        """Whether the run is a teacher's."""
        return self.model == "teacher"

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return self.status == "done"

    @property
    def deciding(self) -> str:
        """The kind of batch norm statistics by which ``best_val`` was chosen."""
        return next(reversed(self.selections), "running")

    def chosen(self, selection: str, statistics: str | None = None) -> Row | None:
        """Return a selected epoch with its accuracies, under the deciding statistics by default."""
        return self.selections.get(statistics or self.deciding, {}).get(selection)

    @property
    def error_line(self) -> str:
        """The first line of a failed run's error; empty if there is none."""
        return printable((self.error or {"message": ""})["message"].partition("\n")[0])

    @property
    def cell(self) -> str:
        """The table entry that this run fills, together with other seeds."""
        return cell_name(self.loss, self.temperature)


class DamagedRecordError(UserError):
    """A record's file holds no valid record: it may have been cut short."""


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return path.read_bytes()  # a job has just replaced it, on a network disk


def read_record(paths: RunPaths) -> RunRecord | None:
    """Read a run's record; None if there is none yet.

    Raises:
        DamagedRecordError: the file is no record.
        UserError: the record has another schema version, or cannot be opened.
    """
    try:
        plain = loads(_content(paths.record))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise UserError(not_allowed(paths.record)) from error
    except OSError as error:
        raise UserError(f"{paths.record} cannot be read: {error}; move it away") from error
    except ValueError as error:
        raise _damaged(paths, error) from error
    version = plain.get("schema_version") if isinstance(plain, dict) else None
    if version is None:
        raise _damaged(paths, "it has no schema version")
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{paths.record} has schema version {version}, and this bitstill reads "
            f"{SCHEMA_VERSION}: use the bitstill that wrote it"
        )
    try:
        return _typed(plain)
    except (TypeError, ValueError) as error:
        raise _damaged(paths, error) from error


def _typed(plain: dict[str, Any]) -> RunRecord:
    for name, annotation in _types().items():
        if name in plain and not fits(plain[name], annotation):
            raise ValueError(f"its {name} is wrong")
    record = RunRecord(**plain)
    _check_names(record)
    _check_numbers(record)
    if not record.selections.keys() <= {*STATISTICS}:
        raise ValueError("its selections are wrong")
    for chosen in record.selections.values():
        rows = [row for row in chosen.values() if row is not None]
        named = chosen.keys() == _SELECTIONS and chosen["last"] is not None
        if not named or not all(row.keys() >= _MEASURED and has_fractions(row) for row in rows):
            raise ValueError("its selections are wrong")
    if record.error is not None and not record.error.keys() >= _ERROR:
        raise ValueError("its error is wrong")
    return record


def has_fractions(row: Row) -> bool:
    """Whether the accuracies of an epoch are fractions."""
    return all(0 <= value <= 1 for name, value in row.items() if "/accuracy" in name)


def _check_names(record: RunRecord) -> None:
    """Refuse names that could do harm in a table, on a page, or as a folder in the store."""
    if not record.loss.isidentifier():  # as a function's name is
        raise ValueError("its loss is wrong")
    for name in (record.identity, record.teacher_identity):
        if name is None:
            continue
        if name in ("", "..") or Path(name).name != name or not name.isprintable():
            raise ValueError("its identity is wrong")


def _check_numbers(record: RunRecord) -> None:
    """Refuse impossible numbers, from which remaining times and rates are computed."""
    each = {name: [getattr(record, name)] for name in _NUMBERS}
    each |= {name: [*getattr(record, name).values()] for name in ("images", "sizes")}
    for name, numbers in each.items():
        if not all(0 <= one < _TOO_MANY for one in numbers):
            raise ValueError(f"its {name} is wrong")


@functools.cache
def _types() -> dict[str, Any]:
    return get_type_hints(RunRecord)


def _damaged(paths: RunPaths, reason: object) -> DamagedRecordError:
    return DamagedRecordError(
        f"{paths.record} is damaged ({reason}): run its command again, which keeps the file as "
        f"{paths.damaged_record.name}"
    )


def known_record(paths: RunPaths) -> RunRecord | None:
    """Read one record of many: a damaged one gives a warning and None.

    Raises:
        UserError: as :func:`read_record` raises, except for damage.
    """
    try:
        return read_record(paths)
    except DamagedRecordError as error:
        _warn_once(f"{error}; until then the run counts as missing")
        return None


@functools.cache
def _warn_once(text: str) -> None:
    """Warn once per process, which may read the same files again and again."""
    log.warning(text)


def record_to_go_on_from(paths: RunPaths) -> RunRecord | None:
    """Read the record to resume from; a damaged one is moved aside, with a warning."""
    try:
        return read_record(paths)
    except DamagedRecordError:
        paths.record.replace(paths.damaged_record)
        log.warning("%s was damaged: it is kept as %s", paths.record, paths.damaged_record.name)
        return None


def refuse_another(paths: RunPaths, record: RunRecord | None, known_as: str) -> None:
    """Refuse a folder whose record belongs to another run.

    Raises:
        UserError: the folder holds another run.
    """
    if record is not None and record.identity != known_as:
        raise UserError(
            f"{paths.directory} holds another run ({record.identity[:10]}, and this is "
            f"{known_as[:10]}): give another folder, or move that one away"
        )


def refuse_foreign(paths: RunPaths) -> None:
    """Refuse a folder that is no run's and has files that a run would overwrite.

    Raises:
        UserError: there are such files, for instance if ``hydra.run.dir`` is the current folder.
    """
    if paths.lock.exists():
        return
    for file in paths.written:
        # In this order, since another process may start the run now, and makes its lock first.
        if file.exists() and not (paths.lock.exists() or paths.record.exists()):
            raise UserError(
                f"{file} is of no run, and would be replaced: move it away, or give another folder"
            )


def finished_record(config: TrainConfig, paths: RunPaths) -> RunRecord | None:
    """Return the record of a finished run that is not asked for again; else None.

    Without a lock: the folder may be another's, and read-only.
    """
    try:
        record = read_record(paths)
    except DamagedRecordError:
        return None  # the run will move it aside
    if record is None or not record.done or config.sweep.repeats_finished:
        return None
    return record if record.identity == identity(config, config.data.identity()) else None
