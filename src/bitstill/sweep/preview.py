"""Shows what a sweep would do and cost before anything runs: ``bitstill plan``."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.markup import escape
from rich.table import Table

from bitstill.data import read_once
from bitstill.errors import counted
from bitstill.report.table import output_console
from bitstill.runs import RunPaths, in_store, known_record, runs_in
from bitstill.runs.identity import teacher_of
from bitstill.runs.status import RunState, look
from bitstill.schema import TrainConfig
from bitstill.sweep.console import clock
from bitstill.sweep.plan import PlannedRun

# As measured: a checkpoint, two files of weights, curves and per-image results.
_RUN_BYTES = 6_100_000


@dataclass(frozen=True)
class Training:
    """A training that a sweep would begin or resume.

    Attributes:
        config: configuration of what is trained.
        epochs: epochs that are left; none for a teacher that the store has.
    """

    config: TrainConfig
    epochs: int

    @property
    def is_copied(self) -> bool:
        """Whether a teacher only has to be copied from the store."""
        return self.config.is_teacher and not self.epochs

    def seconds(self, speeds: Mapping[str, float]) -> float:
        """Estimate the seconds from images per second by kind of model; NaN for an unknown kind."""
        images = self.config.data.training_images() * self.epochs
        return images / speeds.get(self.config.kind, math.nan) if images else 0.0


@read_once()
def show_plan(runs: Sequence[PlannedRun]) -> None:
    """Print every run of a sweep with its state and action, the teachers, hours and disk.

    Time is estimated from the images per second of finished runs of the same kind under
    ``paths.output`` and in the store of teachers; without any, it is reported as unknown.
    """
    table = Table("run", "state", "action", title=counted(len(runs), "run"), title_justify="left")
    left: dict[str, Training] = {}
    to_log = 0
    for run in runs:
        state = look(run.expected)
        work = run.work(state)
        training = _training(run, state)
        action = _action(state, training) if work == "train" else work
        table.add_row(escape(run.expected.name), state.status, action)
        to_log += work == "log"
        if work == "train":
            left[run.expected.identity] = training
    teachers = _teachers(runs)
    trained = sum(not one.epochs for one in teachers.values())
    console = output_console()
    console.print(table)
    console.print(_to_do(runs, left, to_log), soft_wrap=True)
    console.print(f"Teachers that students need: {len(teachers)}, of which {trained} are trained")


def _to_do(runs: Sequence[PlannedRun], left: Mapping[str, Training], to_log: int) -> str:
    """Return the line on the work that is left and its cost, including missing teachers."""
    wanted = _teachers([run for run in runs if run.expected.identity in left])
    extra = {name: one for name, one in wanted.items() if one.epochs and name not in left}
    copies = sum(one.is_copied for one in left.values())
    work = counted(len(left) - copies, "run")
    work += f"; teachers to copy from the store: {copies}" if copies else ""
    work += f"; missing teachers: {len(extra)}" if extra else ""
    work += f"; finished runs to log: {to_log}" if to_log else ""
    speeds = _speeds(runs)
    trainings = [*left.values(), *extra.values()]
    seconds = sum(one.seconds(speeds) for one in trainings)
    cost = (
        "unknown until a run of each kind has finished here"
        if not math.isfinite(seconds)
        else f"{clock(seconds)} of one process, by the speed of earlier runs here"
    )
    return f"To do: {work}; time: {cost}; disk: {len(trainings) * _RUN_BYTES / 1e6:.0f} MB"


def _action(state: RunState, training: Training) -> str:
    if training.is_copied:
        return "copy from the store"
    if state.status == "done":
        return "run again"
    return f"resume from epoch {state.epoch}" if state.epoch else "run"


def _training(run: PlannedRun, state: RunState) -> Training:
    if run.config.is_teacher:
        return _stored(run.config, in_store(run.config, run.expected.identity))
    done = 0 if state.status == "done" else state.epoch
    return Training(run.config, run.expected.epochs - done)


def _stored(teacher: TrainConfig, paths: RunPaths) -> Training:
    """Return the training that a teacher in the store still needs."""
    record = known_record(paths)
    if record is None:
        return Training(teacher, teacher.schedule.epochs)
    # If it was killed between its last epoch and its end, some work is still left.
    left = max(1, teacher.schedule.epochs - record.epoch)
    return Training(teacher, 0 if record.done else left)


def _teachers(runs: Iterable[PlannedRun]) -> dict[str, Training]:
    """Return the training still needed by all teachers that students read, by identity."""
    found = {
        run.expected.stored: teacher_of(run.config) for run in runs if run.config.needs_teacher
    }
    return {
        paths.directory.name: _stored(teacher, paths)
        for paths, teacher in found.items()
        if paths is not None
    }


def _speeds(runs: Iterable[PlannedRun]) -> dict[str, float]:
    """Return the median images per second of finished runs, by kind of model."""
    outputs = {Path(run.config.paths.output) for run in runs}
    stores = {Path(run.config.paths.teachers) for run in runs}
    sweeps = {*stores, *(folder for output in outputs for folder in output.glob("*/"))}
    seen: dict[str, list[float]] = {}
    for paths in itertools.chain.from_iterable(map(runs_in, sweeps)):
        record = known_record(paths)
        if record is None or not record.images_per_second:
            continue
        # Records without weights were kept in the repository, and come from other machines.
        if record.done and paths.weights.exists():
            seen.setdefault(record.model, []).append(record.images_per_second)
    return {kind: median(speeds) for kind, speeds in seen.items()}
