"""How much of what a sweep asks for is there."""

from collections import Counter
from pathlib import Path

from bitstill.report.sweeps import RunSet
from bitstill.report.table import Table
from bitstill.status import CellState, Expected, look, read_manifest, sweep_states


def awaited(runs: RunSet) -> dict[str, int]:
    """Return how many runs of each cell a set's sweep asks for that have not come to an end.

    Of a sweep of several sets, those are the set's that differ from others of their name as one of
    its runs does ("hard T=15 seed 0, quantizer=dorefa").
    """
    asked = read_manifest(runs.folder)
    known = {run.record.identity for run in runs.runs}
    differences = {_difference(one) for one in asked if one.identity in known}
    own = [one for one in asked if _difference(one) in differences or not differences]
    states = (look(one) for one in own)
    open_ = (one for one in states if one.status not in ("done", "failed"))
    return Counter(_cell(one) for one in open_)


def progress_table(folder: Path) -> Table:
    """Return how many of the runs that a sweep asks for are finished, cell by cell."""
    states = sweep_states(folder)
    asked = Counter(_cell(one) for one in states)
    done = Counter(_cell(one) for one in states if one.status == "done")
    rows = [[cell, str(done[cell]), str(count)] for cell, count in asked.items()]
    rows.append(["all", str(done.total()), str(asked.total())])
    title = f"{done.total()} of {asked.total()} runs are finished"
    return Table("progress", title, "", ("cell", "finished", "of"), rows)


def _cell(state: CellState) -> str:
    return state.expected.name.partition(" seed ")[0]


def _difference(expected: Expected) -> str:
    """Return what its name has behind the seed, if several runs of the sweep share the rest."""
    return expected.name.partition(" seed ")[2].partition(", ")[2]
