"""The state of a sweep, from the files of its runs, whichever process writes them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bitstill.errors import printable
from bitstill.runs.found import no_sweep, runs_in
from bitstill.runs.manifest import Expected, read_manifest
from bitstill.runs.paths import RunPaths
from bitstill.runs.record import ENDED, RunRecord, Status, known_record

_PROGRESS = ("epoch", "epochs", "seconds")
State = Literal[Status, "missing", "queued", "stored"]


@dataclass(frozen=True)
class RunState:
    """The state of a run that a sweep asks for.

    Attributes:
        expected: the run.
        status: ``missing`` has no record yet; ``queued`` has a job that is to begin; ``stored`` is
            a teacher that is trained and not yet copied from its store; ``interrupted`` includes
            runs that were killed.
        record: the run's record, or None.
        job: the id of a queued run's job in Slurm's queue.
        teacher: the record of the unfinished teacher that a running student trains or waits for.
    """

    expected: Expected
    status: State
    record: RunRecord | None
    job: str | None = None
    teacher: RunRecord | None = None

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.record.epoch if self.record is not None else 0

    @property
    def is_teacher(self) -> bool:
        """Whether it is a teacher, which takes another time than a student."""
        return self.expected.is_teacher

    @property
    def accuracy(self) -> float | None:
        """The latest test accuracy, a fraction, with exact statistics if they are measured."""
        last = None if self.record is None else self.record.chosen("last")
        return None if last is None else last["test/accuracy"]

    @property
    def _error(self) -> dict[str, str] | None:
        """The error in the record of a run that failed and was not started again."""
        return self.record.error if self.record and self.status == "failed" else None

    @property
    def error(self) -> str:
        """The error's type and first line; empty without an error."""
        if self.record is None or self._error is None:
            return ""
        return f"{printable(self._error['type'])}: {self.record.error_line or 'no message'}"

    def with_job(self, jobs: Mapping[str, str]) -> "RunState":
        """Return the state as queued, if the run has a job that has not begun.

        Args:
            jobs: the ids of jobs in Slurm's queue, by their runs' identities.
        """
        job = jobs.get(self.expected.identity)
        if job is None or self.status in ("done", "running"):
            return self
        return dataclasses.replace(self, status="queued", job=job)

    def plain(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        record = self.record
        return {
            "name": self.expected.name,
            "cell": self.expected.cell,
            "seed": self.expected.seed,
            "difference": self.expected.difference,
            "directory": self.expected.paths.directory.name,
            "identity": self.expected.identity,
            "status": self.status,
            "job": self.job,
            "epoch": self.epoch,
            "epochs": self.expected.epochs,
            "teacher": self.teacher and {key: getattr(self.teacher, key) for key in _PROGRESS},
            "seconds": record.seconds if record is not None else 0.0,
            "test/accuracy": self.accuracy,
            "error": self._error and self._error["message"],
        }


def stop_sign(folder: Path) -> Path:
    """Return the file that tells a sweep's jobs not to start; see ``sweep.on_failure=stop``."""
    return folder / ".stop"


def look(expected: Expected) -> RunState:
    """Read the current state of a run; a teacher may also be in training in the store."""
    own, *stored = (_record_of(expected, paths) for paths in expected.places)
    known = [record for record in (own, *stored) if record is not None]
    if own is not None and own.done:
        return RunState(expected, "done", own)
    # The record that got furthest: a teacher in the store may not be copied from there yet.
    record = max(known, key=lambda one: (one.done, one.epoch), default=None)
    if expected.is_at_work:
        return RunState(expected, "running", record, teacher=_unfinished_teacher(expected, record))
    if record is None:
        return RunState(expected, "missing", None)
    if record.done:
        return RunState(expected, "stored", record)
    # Nobody holds its lock, so its process is gone, perhaps killed.
    return RunState(expected, "failed" if record.status == "failed" else "interrupted", record)


def _unfinished_teacher(expected: Expected, own: RunRecord | None) -> RunRecord | None:
    """Return the record of the unfinished teacher that a student waits for, if it has begun."""
    if expected.is_teacher or expected.stored is None or (own is not None and own.epoch):
        return None
    record = known_record(expected.stored)
    return None if record is None or record.done else record


def _record_of(expected: Expected, paths: RunPaths) -> RunRecord | None:
    record = known_record(paths)
    return record if record is not None and record.identity == expected.identity else None


def seconds_left(states: Sequence[RunState]) -> float | None:
    """Estimate the time for the unfinished runs, from the seconds per epoch of similar runs.

    First come the teachers that they wait for, side by side; then as many runs at a time as are
    running now, at least one. If nothing is known yet of teachers or of students, the times of the
    other kind are taken; None while nothing is known at all.
    """
    teachers = {one.teacher.identity: one.teacher for one in states if one.teacher is not None}
    for one in states:  # a teacher that the sweep asks for is counted as a run of its own
        teachers.pop(one.expected.identity, None)
    seen = [(one.is_teacher, one.record) for one in states if one.record is not None and one.epoch]
    seen += [(True, one) for one in teachers.values() if one.epoch]
    if not seen:
        return None

    def an_epoch(*, teacher: bool) -> float:
        alike = [record for is_teacher, record in seen if is_teacher == teacher]
        alike = alike or [record for _, record in seen]
        return sum(one.seconds for one in alike) / sum(one.epoch for one in alike)

    each = {teacher: an_epoch(teacher=teacher) for teacher in (True, False)}
    left = sum(
        (one.expected.epochs - one.epoch) * each[one.is_teacher]
        for one in states
        if one.status not in ENDED
    )
    waiting = sum((one.epochs - one.epoch) * each[True] for one in teachers.values())
    running = sum(one.status == "running" for one in states)
    return waiting / max(1, len(teachers)) + left / max(1, running)


def sweep_states(folder: Path) -> list[RunState]:
    """Return the state of every run of a sweep: those in its manifest, and those in its folder.

    Raises:
        UserError: there is no sweep in the folder, or a record is of another schema version.
    """
    states = [look(one) for one in read_manifest(folder)]
    expected = {state.expected.paths.directory.name for state in states}
    others = (paths for paths in runs_in(folder) if paths.directory.name not in expected)
    for paths in others:
        if (record := known_record(paths)) is not None:
            one = Expected(record.cell, record.seed, record.identity, record.epochs, paths)
            states.append(look(one))
    if not states:
        raise no_sweep(folder)
    return states


def mark_failed(state: RunState, message: str) -> None:
    """Record the failure of a run whose process has died."""
    if state.record is not None:
        error = {"type": "ProcessKilled", "message": message, "traceback": ""}
        # A teacher that was trained for a student has no folder here yet.
        state.expected.paths.directory.mkdir(parents=True, exist_ok=True)
        dataclasses.replace(state.record, status="failed", error=error).write(state.expected.paths)
