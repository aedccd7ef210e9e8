"""How much of what a sweep asks for is there."""

from collections import Counter
from pathlib import Path

from bitstill.report.table import Table
from bitstill.status import CellState, look, read_manifest, read_sweep


def awaited(folder: Path) -> dict[str, int]:
    """Return how many runs of each cell a sweep asks for that have not come to an end."""
    states = (look(one) for one in read_manifest(folder))
    open_ = (one for one in states if one.status not in ("done", "failed"))
    return Counter(_cell(one) for one in open_)


def progress_table(folder: Path) -> Table:
    """Return how many of the runs that a sweep asks for are finished, cell by cell."""
    states = read_sweep(folder)
    asked = Counter(_cell(one) for one in states)
    done = Counter(_cell(one) for one in states if one.status == "done")
    rows = [[cell, str(done[cell]), str(count)] for cell, count in asked.items()]
    rows.append(["all", str(done.total()), str(asked.total())])
    title = f"{done.total()} of {asked.total()} runs are finished"
    return Table("progress", title, "", ("cell", "finished", "of"), rows)


def _cell(state: CellState) -> str:
    return state.expected.name.rpartition(" seed ")[0]
