"""Tables 1 to 4 in the terminal, the published numbers beside ours."""

import json
from collections.abc import Iterable, Sequence
from statistics import fmean

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

# What may differ between the students of one set; a sweep's name says nothing of its runs.
_INSIDE = ("model", "loss", "temperature", "soft_weight", "seed", "name")


def sets(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Group finished runs into sets that may stand in the same tables.

    The students of a set share data, schedule, quantizer, their teachers' schedule, the rule for
    the factor c, and everything else but loss, temperature and seeds. A teacher belongs to every
    set of students that could have read it, and a loss without c to every set with its students.
    """
    done = [record for record in records if record.status == "done"]
    students = [record for record in done if record.model == "student"]
    found = []
    for setting in dict.fromkeys(_setting(record) for record in students):
        like = [record for record in students if _setting(record) == setting]
        rules = {_soft_weight_rule(record): None for record in like}
        for rule in [rule for rule in rules if rule is not None] or rules:
            members = [record for record in like if _soft_weight_rule(record) in (None, rule)]
            teachers = [record for record in done if _teaches(record, members[0])]
            found.append([*teachers, *members])
    return found or ([done] if done else [])


def _setting(record: RunRecord) -> str:
    shared = {key: value for key, value in record.config.items() if key not in _INSIDE}
    shared["teacher"] = record.config["teacher"]["schedule"]
    return json.dumps([shared, record.data_identity], sort_keys=True)


def _teaches(teacher: RunRecord, student: RunRecord) -> bool:
    """Whether a run is a teacher that a student's configuration could name, seeds aside."""
    same = ("batch_norm", "evaluation", "trainer")
    return (
        teacher.model == "teacher"
        and teacher.data_identity == student.data_identity
        and teacher.config["schedule"] == student.config["teacher"]["schedule"]
        and all(teacher.config[key] == student.config[key] for key in same)
    )


def _soft_weight_rule(record: RunRecord) -> str | None:
    """Return how c follows from T, or None for a loss without c: T^2 or a number, to a number."""
    if record.loss not in ("soft_hard", "gt_soft_hard") or record.temperature is None:
        return None
    values = {
        key: "T^2" if value == record.temperature**2 else value
        for key, value in record.config["soft_weight"].items()
    }
    return json.dumps(values, sort_keys=True)


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
    table.add_row("teacher", f"{published.TEACHER_ACCURACY:.1f}", *_ours(teachers))
    table.add_row("q1, T=15", f"{published.HARD_ACCURACY:.1f}", *_ours(hard))
    table.caption = (
        f"Sizes, published | ours: teacher's checkpoint {published.TEACHER_CHECKPOINT} | "
        f"{_size(teachers, 'checkpoint')} (with the optimizer's state); student "
        f"{published.HARD_CHECKPOINT} | {_size(hard, 'weights_float32')} (32-bit weights alone)."
    )
    table.caption_justify = "left"
    return table


def _size(runs: Sequence[RunRecord], name: str) -> str:
    return f"{runs[0].sizes[name] / 1e6:.2f} MB" if runs else "missing"
