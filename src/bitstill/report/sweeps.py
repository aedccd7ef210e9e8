"""Runs as a report sees them: a run, a set of comparable runs, and reading both from disk."""

import functools
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from bitstill.errors import printable
from bitstill.reading import fits, reading, without_aliases
from bitstill.report.published import DISTILLED, HARD_TEMPERATURE
from bitstill.report.settings import rules, settings, teacher_settings
from bitstill.runs import (
    Row,
    RunPaths,
    RunRecord,
    known_record,
    known_runs,
    no_sweep,
    teacher_stores,
)
from bitstill.runs.correctness import read_correctness
from bitstill.runs.curves import read_curves
from bitstill.runs.identity import TEACHER, cell_name
from bitstill.runs.manifest import read_manifest

LOSSES = ("hard", *DISTILLED)  # in the order of the published tables


class View(NamedTuple):
    """A choice of test accuracy: batch norm statistics and epoch.

    Attributes:
        statistics: ``running`` or ``precise`` batch norm statistics.
        selection: the choice of an epoch: ``best_test``, ``best_val`` or ``last``.
    """

    statistics: str
    selection: str

    def __str__(self) -> str:
        return f"{self.statistics}/{self.selection}"

    @property
    def label(self) -> str:
        """The name shown to readers."""
        return f"{SELECTION_NAMES[self.selection]}, {STATISTICS_NAMES[self.statistics]}"


SELECTION_NAMES = {
    "best_test": "best test",
    "best_val": "best val",
    "last": "last",
}
STATISTICS_NAMES = {"running": "running", "precise": "exact"}
VIEWS = tuple(View(kind, selection) for kind in STATISTICS_NAMES for selection in SELECTION_NAMES)
PUBLISHED_VIEW = View("running", "best_test")


HARD = cell_name("hard", HARD_TEMPERATURE)  # the student of Table 1


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    paths: RunPaths
    record: RunRecord

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return self.record.done

    def percent(self, view: View) -> float | None:
        """Return a test accuracy in percent; None where it was not measured."""
        row = self.record.chosen(view.selection, view.statistics)
        return None if row is None else 100 * row["test/accuracy"]

    @functools.cached_property
    def curves(self) -> list[Row]:
        """The curves, one row per epoch; empty without the file."""
        return read_curves(self.paths) if self.paths.metrics.exists() else []

    @functools.cached_property
    def correctness(self) -> dict[str, NDArray[np.bool_]]:
        """Which test images are classified correctly, by the name of a view."""
        return read_correctness(self.paths)

    @functools.cached_property
    def command(self) -> str:
        """The command that repeats the run, from its arguments; or why there is none."""
        arguments = self.arguments
        if arguments is None:
            in_store = self.paths.directory.name == self.record.identity
            return "its students train it" if in_store else "its arguments were not kept"
        # An experiment is a sweep: this asks for one of its runs.
        alone = ["hydra.mode=RUN"] if any("experiment=" in one for one in arguments) else []
        return shlex.join(["bitstill", "train", *arguments, *alone])

    @functools.cached_property
    def arguments(self) -> list[str] | None:
        """The run's command-line arguments; None if they were not kept."""
        # Not by OmegaConf, which takes a second for a hundred runs.
        with reading(self.paths.overrides, "move it away"):
            if (text := _kept(self.paths.overrides)) is None:
                return None
            settings = [str(one) for one in yaml.safe_load(without_aliases(text))]
        return [*_flags(self.paths), *settings]


def _kept(path: Path) -> str | None:
    """Return the text of a file; None if there is none."""
    try:
        return path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None


# In Hydra's own notes: where else it looked for choices, and which configuration it composed.
_SEARCHED = re.compile(r"^ +provider: (command-line|hydra\.searchpath)", re.MULTILINE)
_CONFIG_NAME = re.compile(r"^ +config_name: (?!train(\.yaml)?$)(.+)$", re.MULTILINE)


def _flags(paths: RunPaths) -> list[str]:
    """Return the flags for a user's own configuration, with a placeholder for the folder."""
    with reading(paths.hydra, "move it away"):
        noted = _kept(paths.hydra) or ""
    searched = ["--config-dir", "FOLDER"] if _SEARCHED.search(noted) else []
    named = _CONFIG_NAME.search(noted)
    return [*searched, *(["--config-name", named[2].strip("'")] if named else [])]


@dataclass(frozen=True)
class RunSet:
    """Comparable runs: they share everything except loss, temperature and seed.

    Attributes:
        name: the sweep's name, and what tells its sets apart.
        runs: at least one run, finished or not.
        settings: what the runs share, by name: their :func:`settings`, and the
            :func:`teacher_settings` and :func:`rules` of those that have some.
        awaited: how many runs of each cell the sweep asks for and has not finished.
    """

    name: str
    runs: Sequence[Run]
    settings: Mapping[str, str] = field(default_factory=dict)
    awaited: Mapping[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        return _first(self.runs).paths.directory.parent

    @functools.cached_property
    def _by_cell(self) -> dict[str, list[Run]]:
        found: dict[str, list[Run]] = {}
        for run in sorted(self.runs, key=lambda run: run.record.seed):
            found.setdefault(run.record.cell, []).append(run)
        return found

    def of(self, cell: str) -> list[Run]:
        """Return all runs of a cell, by seed."""
        return self._by_cell.get(cell, [])

    def done(self, cell: str) -> list[Run]:
        """Return the finished runs of a cell, by seed; one for each seed."""
        by_seed = {run.record.seed: run for run in self.of(cell) if run.done}
        return list(by_seed.values())

    def percents(self, cell: str, view: View) -> dict[int, float]:
        """Return the test accuracies of a cell's finished runs in percent, by seed."""
        found = {run.record.seed: run.percent(view) for run in self.done(cell)}
        return {seed: value for seed, value in found.items() if value is not None}

    def measured(self, view: View) -> bool:
        """Whether any finished run has this accuracy."""
        return any(run.percent(view) is not None for run in self.runs if run.done)

    @property
    def students(self) -> list[Run]:
        """Its runs except teachers, finished or not."""
        return [run for run in self.runs if not run.record.is_teacher]

    @property
    def seeds(self) -> list[int]:
        """The seeds of its students, or of its teachers if there are no students."""
        return sorted({run.record.seed for run in self.students or self.runs})

    @property
    def losses(self) -> list[str]:
        """The losses of its students, the published four first."""
        return losses_of(self.runs)

    @property
    def cells(self) -> list[str]:
        """The cells that any run belongs to: teacher first, then by loss and temperature."""
        losses = self.losses

        def place(record: RunRecord) -> tuple[bool, int, float]:
            order = 0 if record.is_teacher else losses.index(record.loss)
            return not record.is_teacher, order, record.temperature or 0.0

        records = sorted((run.record for run in self.runs), key=place)
        return list(dict.fromkeys(record.cell for record in records))

    def cells_of(self, loss: str) -> list[str]:
        """Return the cells of a loss's students, by temperature."""
        students = [cell for cell in self.cells if cell != TEACHER]
        return [cell for cell in students if self.of(cell)[0].record.loss == loss]


def sweep_name(runs: Sequence[Run]) -> str:
    """Return the name of a sweep."""
    return printable(str(_first(runs).record.config["name"]))


def _first(runs: Sequence[Run]) -> Run:
    """Return a run that is certainly the sweep's own: a teacher may come from elsewhere."""
    return next((run for run in runs if not run.record.is_teacher), runs[0])


def losses_of(runs: Iterable[Run]) -> list[str]:
    """Return the losses of students, the published four first."""
    return in_order(run.record.loss for run in runs if not run.record.is_teacher)


def in_order(losses: Iterable[str]) -> list[str]:
    """Return each loss once, the published four first."""
    found = set(losses)
    return [*(one for one in LOSSES if one in found), *sorted(found - {*LOSSES})]


def read_sweep(folder: Path) -> list[Run]:
    """Read all runs in a sweep's folders, in its order; warn of damaged records.

    Raises:
        UserError: there are none, or a record is of another schema version.
    """
    found = [Run(paths, record) for paths, record in known_runs(folder)]
    if not found:
        raise no_sweep(folder)
    places = {one.identity: place for place, one in enumerate(read_manifest(folder))}
    found.sort(key=lambda run: places.get(run.record.identity, len(places)))
    return [_checked(run) for run in found]


def with_teachers(runs: Sequence[Run]) -> list[Run]:
    """Return runs after the teachers that they read and that only the store has.

    For a sweep that asks for students only, teachers are trained there.
    """
    own = {None, *(run.record.identity for run in runs)}
    readers = {run.record.teacher_identity: run for run in runs}
    found = []
    for identity in readers.keys() - own:
        stored = stored_teacher(readers[identity])
        record = None if stored is None else known_record(stored)
        if stored is not None and record is not None and record.identity == identity:
            found.append(_checked(Run(stored, record)))
    found.sort(key=lambda run: run.record.seed)
    return [*found, *runs]


def stored_teacher(run: Run) -> RunPaths | None:
    """Return a run's teacher in the store, or the run itself there; None without its logits."""
    record = run.record
    identity = record.identity if record.is_teacher else record.teacher_identity
    if identity is None:
        return None
    for store in teacher_stores(run.paths):
        if (stored := RunPaths(store / identity)).teacher_logits.exists():
            return stored
    return None


# What reports read from a configuration, besides the parts of settings and rules.
_READ: dict[tuple[str, str], Any] = {
    ("data", "source"): str,
    ("schedule", "epochs"): int,
    ("schedule", "batch_size"): int,
}
_OF_STUDENTS: dict[tuple[str, str], Any] = {
    ("quantizer", "method"): str,
    ("quantizer", "weight_bits"): int | None,
    ("teacher", "seed"): int,
}


def _checked(run: Run) -> Run:
    """Check that a record has the settings that tell runs apart."""
    config = run.record.config
    with reading(run.paths.record, "its configuration is another's; move it away"):
        settings(run.record)
        teacher_settings(run.record)
        rules(run.record)
        _ = [config[key] for key in ("name", "batch_norm", "evaluation")]
        read = _READ if run.record.is_teacher else _READ | _OF_STUDENTS
        for (group, key), kind in read.items():
            if not fits(config[group][key], kind):
                raise ValueError(f"its {group}.{key} is wrong")
    return run
