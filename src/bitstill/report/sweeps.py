"""Runs as a report sees them: read from disk, sorted into sets that may be compared."""

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitstill.errors import UserError
from bitstill.runs import Row, RunPaths, RunRecord, read_correctness, read_curves, read_record

TEACHER = "teacher"


class View(NamedTuple):
    """Which of a run's test accuracies is meant.

    Attributes:
        statistics: ``running`` or ``precise`` batch norm statistics.
        selection: the choice of an epoch: ``best_test``, ``best_val`` or ``last``.
    """

    statistics: str
    selection: str

    def __str__(self) -> str:
        return f"{self.statistics}/{self.selection}"


SELECTIONS = {
    "best_test": "best test",
    "best_val": "best val",
    "last": "last",
}
STATISTICS = {"running": "running", "precise": "exact"}
VIEWS = tuple(View(kind, selection) for kind in STATISTICS for selection in SELECTIONS)
PUBLISHED_VIEW = View("running", "best_test")


def cell_name(loss: str, temperature: float) -> str:
    """Return the name of a student's cell, as :attr:`RunRecord.cell` has it."""
    return f"{loss} T={temperature:g}"


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    paths: RunPaths
    record: RunRecord

    @property
    def done(self) -> bool:
        """Whether it is finished."""
        return self.record.status == "done"

    def percent(self, view: View) -> float | None:
        """Return a test accuracy in percent; None where it was not measured."""
        row = self.record.selections.get(view.statistics, {}).get(view.selection)
        return None if row is None else 100 * row["test/accuracy"]

    @functools.cached_property
    def curves(self) -> list[Row]:
        """The curves, a row an epoch; none without the file."""
        return read_curves(self.paths) if self.paths.metrics.exists() else []

    @functools.cached_property
    def correctness(self) -> dict[str, NDArray[np.bool_]]:
        """Which test images are right, by the name of a view."""
        return read_correctness(self.paths)


@dataclass(frozen=True)
class RunSet:
    """Runs that may stand in the same tables: they share all but loss, temperature and seed.

    Attributes:
        name: of the sweep, and what tells its sets apart.
        runs: finished ones and others.
        folder: of the sweep.
    """

    name: str
    runs: Sequence[Run]
    folder: Path = field(default_factory=Path)

    def of(self, cell: str) -> list[Run]:
        """Return all runs of a cell, by seed."""
        found = [run for run in self.runs if run.record.cell == cell]
        return sorted(found, key=lambda run: run.record.seed)

    def done(self, cell: str) -> list[Run]:
        """Return the finished runs of a cell, by seed; one for each seed."""
        by_seed = {run.record.seed: run for run in self.of(cell) if run.done}
        return list(by_seed.values())

    def percents(self, cell: str, view: View) -> dict[int, float]:
        """Return the test accuracies of a cell's finished runs in percent, by seed."""
        found = {run.record.seed: run.percent(view) for run in self.done(cell)}
        return {seed: value for seed, value in found.items() if value is not None}

    @property
    def seeds(self) -> list[int]:
        """The seeds of all runs, finished or not."""
        return sorted({run.record.seed for run in self.runs})

    @property
    def cells(self) -> list[str]:
        """The cells that any run belongs to: teacher first, then by loss and temperature."""
        losses = ("hard", "soft", "soft_hard", "gt_soft_hard")

        def place(record: RunRecord) -> tuple[bool, int, float]:
            order = losses.index(record.loss) if record.loss in losses else len(losses)
            return record.model != TEACHER, order, record.temperature or 0.0

        records = sorted((run.record for run in self.runs), key=place)
        return list(dict.fromkeys(record.cell for record in records))


def read_sweep(folder: Path) -> list[Run]:
    """Read all runs in the folders of a sweep.

    Raises:
        UserError: there are none, or a record cannot be read.
    """
    paths = [RunPaths(path.parent) for path in sorted(folder.glob("*/run.json"))]
    if not paths:
        what = "holds no runs" if folder.is_dir() else "is no folder"
        raise UserError(f"{folder} {what}: give the folder of a sweep, such as multirun/quick")
    records = ((one, read_record(one)) for one in paths)
    return [Run(one, record) for one, record in records if record is not None]


# What varies inside one set; runs that differ in anything else are not averaged.
INSIDE = ("model", "loss", "temperature", "soft_weight", "seed", "teacher", "name", "quantizer")


def run_sets(runs: Iterable[Run], *, folder: Path | None = None) -> list[RunSet]:
    """Group runs into sets that may stand in the same tables.

    The students of a set share data, schedule, quantizer, the rule for the factor c and everything
    else but loss, temperature and seed. A teacher belongs to every set with its data and schedule,
    and a loss without c to every set with its students.
    """
    runs = list(runs)
    students = [run for run in runs if run.record.model != TEACHER]
    found: list[list[Run]] = []
    for setting in dict.fromkeys(_setting(run.record) for run in students):
        like = [run for run in students if _setting(run.record) == setting]
        rules = {_soft_weight_rule(run.record): None for run in like}
        for rule in [rule for rule in rules if rule is not None] or rules:
            members = [run for run in like if _soft_weight_rule(run.record) in (None, rule)]
            found.append([*_teachers_of(members[0], runs), *members])
    groups = found or ([runs] if runs else [])
    name = runs[0].record.config["name"] if runs else ""
    return [
        RunSet(
            f"{name} ({number} of {len(groups)})" if len(groups) > 1 else name,
            group,
            folder or Path(),
        )
        for number, group in enumerate(groups, start=1)
    ]


def _teachers_of(student: Run, runs: Iterable[Run]) -> list[Run]:
    outside = _outside(student.record)
    return [r for r in runs if r.record.model == TEACHER and _outside(r.record) == outside]


def _outside(record: RunRecord) -> str:
    shared = {key: value for key, value in record.config.items() if key not in INSIDE}
    shared["trainer"] = {key: value for key, value in shared["trainer"].items() if key != "threads"}
    return json.dumps([shared, record.data_identity], sort_keys=True)


def _setting(record: RunRecord) -> str:
    teacher = record.config["teacher"]["schedule"]
    return _outside(record) + json.dumps([record.config["quantizer"], teacher], sort_keys=True)


def _soft_weight_rule(record: RunRecord) -> str | None:
    """Return how c follows from T, the same for all temperatures of a sweep, or None without c."""
    if record.loss not in ("soft_hard", "gt_soft_hard") or record.temperature is None:
        return None
    weight = record.config["soft_weight"]
    first = weight.get("value", weight.get("initial"))
    # A study holds either c itself or c / T^2 constant over its temperatures.
    rule = first if first == 1 else f"{first / record.temperature**2:.6g} T^2"
    return f"{weight['_target_']} {rule}"
