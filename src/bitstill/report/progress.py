"""How many of the runs that a sweep asks for are finished."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bitstill.report.sets import run_sets
from bitstill.report.sweeps import Run, RunSet, with_teachers
from bitstill.report.table import Table
from bitstill.runs import ENDED, known_record
from bitstill.runs.manifest import read_manifest
from bitstill.runs.status import look, sweep_states


def sweep_sets(runs: Sequence[Run]) -> list[RunSet]:
    """Group a sweep's runs, with the teachers that they read, into comparable sets."""
    sets = run_sets(with_teachers(runs))
    return [dataclasses.replace(one, awaited=_awaited(one)) for one in sets]


def _awaited(runs: RunSet) -> dict[str, int]:
    """Return how many unfinished runs of its sweep a set awaits, by cell.

    A set awaits all runs of the sweep, except those that have begun in another set, and those whose
    difference from others of their name ("hard T=15 seed 0, quantizer=dorefa") is found in other
    sets only. So every set awaits a run whose difference no run shows yet. A set does not await a
    teacher in it that is finished, be it only in the store.
    """
    asked = read_manifest(runs.folder)
    known = {run.record.identity for run in runs.runs}
    elsewhere = {one.identity for one in asked if known_record(one.paths)} - known
    ours, theirs = (
        {one.difference for one in asked if one.identity in those} for those in (known, elsewhere)
    )
    there = {run.record.identity for run in runs.runs if run.done}
    own = [one for one in asked if one.identity not in elsewhere | there]
    states = [look(one) for one in own if one.difference not in theirs - ours]
    return Counter(one.expected.cell for one in states if one.status not in ENDED)


def progress_table(folder: Path) -> Table:
    """Return how many of the runs that a sweep asks for are finished, cell by cell."""
    states = sweep_states(folder)
    asked = Counter(one.expected.cell for one in states)
    done = Counter(one.expected.cell for one in states if one.status == "done")
    rows = [[cell, str(done[cell]), str(count)] for cell, count in asked.items()]
    rows.append(["all", str(done.total()), str(asked.total())])
    title = f"{done.total()} of {asked.total()} runs are finished"
    return Table("progress", title, "", ("cell", "finished", "of"), rows)
