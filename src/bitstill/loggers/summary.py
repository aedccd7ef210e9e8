"""One wandb run for a whole sweep: its tables and its accuracies over temperature."""

import hashlib
from pathlib import Path

from bitstill.loggers.callback import DONE
from bitstill.loggers.wandb_run import begin, end
from bitstill.report.claims import primary_view
from bitstill.report.figures.accuracy import accuracy_figures
from bitstill.report.figures.figure import to_image
from bitstill.report.progress import sweep_sets
from bitstill.report.sweeps import RunSet, read_sweep
from bitstill.report.table import Table, to_html, told_apart
from bitstill.report.tables import accuracy_tables, temperature_table
from bitstill.schema import WandbConfig


def summary_id(name: str) -> str:
    """Return the id of a sweep's summary, which stays the same when the sweep is resumed."""
    return "summary-" + hashlib.sha256(name.encode()).hexdigest()[:16]


def log_summary(settings: WandbConfig, folder: Path, name: str) -> None:
    """Log the results of a sweep's folder so far, replacing its earlier summary.

    Args:
        settings: where wandb's runs go.
        folder: of the sweep.
        name: of the sweep.
    """
    import wandb

    runs = read_sweep(folder)
    run = begin(
        settings,
        folder,
        run_id=summary_id(name),
        name=f"{name}: summary",
        group=name,
        job_type="summary",
        config={"sweep": name, "runs": len(runs)},
    )
    try:
        sets = sweep_sets(runs)
        tables = told_apart([(one.name, _tables(one)) for one in sets])
        for number, (one, own) in enumerate(zip(sets, tables, strict=True), start=1):
            prefix = "" if len(sets) == 1 else f"set{number}/"
            figures = accuracy_figures(one, primary_view(one))
            run.log(
                {f"{prefix}{table.name}": wandb.Html(to_html(table)) for table in own}
                | {f"{prefix}{each.name}": wandb.Image(to_image(each)) for each in figures}
            )
            run.summary.update(_means(one, prefix))
    finally:
        end(run, folder, DONE)


def _tables(runs: RunSet) -> list[Table]:
    return [temperature_table(runs, primary_view(runs)), *accuracy_tables(runs)]


def _means(runs: RunSet, prefix: str) -> dict[str, float]:
    """Return the mean test accuracy of each cell, a fraction."""
    view, found = primary_view(runs), {}
    for cell in runs.cells:
        values = list(runs.percents(cell, view).values())
        if values:
            found[f"{prefix}mean/{cell}"] = sum(values) / len(values) / 100
    return found
