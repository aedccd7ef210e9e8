"""Tables 1 to 4, with published numbers beside ours, and the table of every seed."""

from statistics import fmean

from bitstill.report import published
from bitstill.report.sweeps import (
    HARD,
    PUBLISHED_VIEW,
    SELECTION_NAMES,
    STATISTICS_NAMES,
    VIEWS,
    RunSet,
    View,
    in_order,
)
from bitstill.report.table import NOT_APPLICABLE, Table, or_dash, plus_minus
from bitstill.runs import ENDED
from bitstill.runs.identity import TEACHER, cell_name, temperature_name

DETAILS = ("tests", "robustness", "seeds", "cost")
"""Tables that few look at: not in the terminal, and folded on the page."""

CAPTION = (
    "Test accuracy in %: mean over seeds ± 95 % t interval. Published numbers are from one run, at "
    "its best epoch on the test set: compare them with best test, running. best val: the epoch "
    "chosen on validation images. optimism: best test minus best val, in points. batch "
    "norm: evaluated with running statistics, as published, or with exact ones."
)
_HEADER = ("published", "batch norm", *SELECTION_NAMES.values(), "optimism", "n")
_STATES = {"running": "unfinished"}  # in tables, "running" means batch norm statistics


def accuracy_tables(runs: RunSet) -> list[Table]:
    """Return Tables 1 to 4 for the losses that have runs, or await some."""
    temperatures = _temperatures(runs)
    known = {TEACHER: published.TEACHER_ACCURACY, HARD: published.HARD_ACCURACY}
    cells = [cell for cell in known if cell in {*runs.awaited, *runs.cells}]
    cells += [cell_name("hard", value) for value in temperatures.pop("hard", ())]
    found = []
    if cells:
        rows = [
            row for cell in dict.fromkeys(cells) for row in _rows(runs, cell, cell, known.get(cell))
        ]
        title = "Table 1: teacher, and student from ground truth only (hard)"
        found.append(Table("table1", title, "", ("model", *_HEADER), rows))
    names = {loss: f"table{number}" for number, loss in enumerate(published.DISTILLED, start=2)}
    for loss, values in temperatures.items():
        of_loss = published.ACCURACIES.get(loss, {})
        rows = [
            row
            for value in values
            for row in _rows(
                runs, cell_name(loss, value), temperature_name(value), of_loss.get(value)
            )
        ]
        name = names.get(loss, f"table-{loss}")
        found.append(Table(name, published.title(loss), "", ("T", *_HEADER), rows))
    return found


def temperature_table(runs: RunSet, view: View) -> Table:
    """Return mean test accuracy: one row per temperature, one column per loss."""
    asked = _temperatures(runs)

    def entry(loss: str, temperature: float) -> str:
        cell = cell_name(loss, temperature)
        return _mean(runs, cell, view) if temperature in asked[loss] else NOT_APPLICABLE

    temperatures = sorted(set().union(*asked.values()))
    rows = [
        [temperature_name(value), *(entry(loss, value) for loss in asked)] for value in temperatures
    ]
    caption = (
        f"Test accuracy in %: {view.label} batch norm statistics; mean over seeds ± 95 % t "
        "interval."
    )
    title, header = "Temperature and loss at a glance", ("T", *asked)
    return Table("temperatures", title, caption, header, rows)


def _temperatures(runs: RunSet) -> dict[str, list[float]]:
    """Return the temperatures of each loss, from cells with runs and from awaited ones."""
    cells = {_loss_and_temperature(cell) for cell in (*runs.cells, *runs.awaited)}
    found: dict[str, list[float]] = {}
    for loss, temperature in sorted(cell for cell in cells if cell is not None):
        found.setdefault(loss, []).append(temperature)
    return {loss: found[loss] for loss in in_order(found)}


def _loss_and_temperature(cell: str) -> tuple[str, float] | None:
    """Return loss and temperature from a cell's name; None for a teacher or a foreign name."""
    loss, _, temperature = cell.rpartition(" T=")
    try:
        return (loss, float(temperature)) if loss.isidentifier() else None
    except ValueError:
        return None


def _rows(runs: RunSet, cell: str, label: str, accuracy: float | None) -> list[list[str]]:
    """Return a row for each kind of batch norm statistics, also for missing numbers."""
    return [
        [
            label,
            or_dash(accuracy, ".1f") if kind == PUBLISHED_VIEW.statistics else NOT_APPLICABLE,
            name,
            *(_mean(runs, cell, View(kind, selection)) for selection in SELECTION_NAMES),
            _optimism(runs, cell, kind),
            _count(runs, cell),
        ]
        for kind, name in STATISTICS_NAMES.items()
    ]


def _mean(runs: RunSet, cell: str, view: View) -> str:
    values = list(runs.percents(cell, view).values())
    if values:
        return plus_minus(values)
    if runs.done(cell):
        return "not measured"
    return unfinished(runs, cell)


def unfinished(runs: RunSet, cell: str) -> str:
    """Return why a cell without finished runs has no number."""
    statuses = {run.record.status for run in runs.of(cell)}
    return "failed" if "failed" in statuses else "unfinished" if statuses else "missing"


def _optimism(runs: RunSet, cell: str, kind: str) -> str:
    best, honest = (runs.percents(cell, View(kind, name)) for name in ("best_test", "best_val"))
    shared = best.keys() & honest.keys()
    if not shared:
        return NOT_APPLICABLE
    return f"{fmean(best[s] - honest[s] for s in shared):z.1f}"


def _count(runs: RunSet, cell: str) -> str:
    """Return how many seeds of a cell are done, and out of how many if some are not.

    That total is the number of seeds in the set, or that the sweep asks for if that is larger.
    """
    # All students may share one teacher.
    teachers = {run.record.config["teacher"]["seed"] for run in runs.students}
    in_set = len(teachers if cell == TEACHER and teachers else runs.seeds)
    ended = sum(run.record.status in ENDED for run in runs.of(cell))
    expected = max(in_set, ended + runs.awaited.get(cell, 0))
    done = len(runs.done(cell))
    return str(done) if done == expected else f"{done}/{expected}"


def seeds_table(runs: RunSet) -> Table:
    """Return every run with its accuracies."""
    rows = []
    for cell in runs.cells:
        for run in runs.of(cell):
            values = [run.percent(view) for view in VIEWS]
            texts = ["not measured" if value is None else f"{value:.2f}" for value in values]
            if not run.done:
                texts = [_STATES.get(run.record.status, run.record.status)] * len(VIEWS)
            rows.append([cell, str(run.record.seed), *texts])
    header = ("cell", "seed", *(view.label for view in VIEWS))
    return Table("seeds", "Every run: test accuracy in %", "", header, rows)
