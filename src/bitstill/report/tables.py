"""Tables 1 to 4 in the terminal, the published numbers beside ours."""

import json
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from rich.table import Table

from bitstill.report import published
from bitstill.runs import RunRecord

# What a column shows of a run: its title, the batch norm statistics and the choice of an epoch.
_COLUMNS = (
    ("best test", "running", "best_test"),
    ("best val", "running", "best_val"),
    ("last", "running", "last"),
    ("last, exact", "precise", "last"),
)

CAPTION = (
    "Test accuracy in %, the mean over the runs. Published numbers, and the column beside them, "
    "are from the epoch that was best on the test set; best val is chosen on held-out training "
    "images; exact: with exact batch norm statistics."
)

# What varies inside one set of tables; runs that differ in anything else are not averaged.
_INSIDE = ("model", "loss", "temperature", "soft_weight", "seed", "teacher", "name", "quantizer")


def sets(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Group finished runs into sets that may stand in the same tables.

    Runs of a set share data, schedule and everything else but loss, temperature, factor c (as a
    kind of schedule) and seed. A teacher belongs to every set with its data and schedule.
    """
    groups: dict[str, list[RunRecord]] = {}
    teachers: list[tuple[str, RunRecord]] = []
    for record in records:
        if record.status != "done":
            continue
        key = json.dumps([_outside(record), record.data_identity], sort_keys=True)
        if record.model == "teacher":
            teachers.append((key, record))
        else:
            full = json.dumps([key, record.config["quantizer"], _weight_kind(record)])
            groups.setdefault(full, []).append(record)
    if not groups:
        return [[record for _, record in teachers]] if teachers else []
    for full, members in groups.items():
        members += [record for key, record in teachers if key == json.loads(full)[0]]
    return list(groups.values())


def _outside(record: RunRecord) -> dict[str, Any]:
    return {key: value for key, value in record.config.items() if key not in _INSIDE}


def _weight_kind(record: RunRecord) -> object:
    """Return the factor c relative to T^2, the same for runs that follow one rule."""
    if record.loss not in ("soft_hard", "gt_soft_hard") or record.temperature is None:
        return None
    weight = record.config["soft_weight"]
    start = weight.get("value", weight.get("initial"))
    return [weight["_target_"], round(start / record.temperature**2, 9)]


def tables(records: Sequence[RunRecord]) -> list[Table]:
    """Return the published tables that a set of runs has something for.

    Args:
        records: of one of :func:`sets`.
    """
    found = []
    hard = _runs(records, "hard", published.HARD_TEMPERATURE)
    teachers = [record for record in records if record.model == "teacher"]
    if hard or teachers:
        found.append(_table_1(teachers, hard))
    for loss, accuracies in published.DISTILLED.items():
        if any(record.loss == loss for record in records):
            table = _new_table(published.TITLES[loss], "T")
            for temperature, accuracy in zip(published.TEMPERATURES, accuracies, strict=True):
                runs = _runs(records, loss, temperature)
                table.add_row(f"{temperature:g}", f"{accuracy:.1f}", *_ours(runs))
            found.append(table)
    return found


def _runs(records: Iterable[RunRecord], loss: str, temperature: float) -> list[RunRecord]:
    return [
        record
        for record in records
        if record.model == "student" and record.loss == loss and record.temperature == temperature
    ]


def _new_table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    table.add_column("published", justify="right", style="cyan")
    for name, _, _ in _COLUMNS:
        table.add_column(name, justify="right")
    table.add_column("runs", justify="right")
    return table


def _ours(runs: Sequence[RunRecord]) -> list[str]:
    """Return the cells of a row; what is not there is said, not left blank."""
    if not runs:
        return ["missing"] * len(_COLUMNS) + ["0"]
    cells = []
    for _, kind, selection in _COLUMNS:
        chosen = [run.selections.get(kind, {}).get(selection) for run in runs]
        values = [100 * row["test/accuracy"] for row in chosen if row is not None]
        cells.append(f"{fmean(values):.1f}" if len(values) == len(runs) else "none")
    return [*cells, str(len(runs))]


def _table_1(teachers: Sequence[RunRecord], hard: Sequence[RunRecord]) -> Table:
    table = _new_table("Table 1: teacher, and student from ground truth only (hard)", "model")
    table.add_column("checkpoint", justify="right")
    rows = (
        ("baseline", published.TEACHER_ACCURACY, published.TEACHER_CHECKPOINT, teachers),
        ("q1, T = 15", published.HARD_ACCURACY, published.HARD_CHECKPOINT, hard),
    )
    for name, accuracy, size, runs in rows:
        ours = f"{runs[0].sizes['checkpoint'] / 1e6:.2f} MB" if runs else "missing"
        table.add_row(name, f"{accuracy:.1f}", *_ours(runs), f"{size} | {ours}")
    return table
