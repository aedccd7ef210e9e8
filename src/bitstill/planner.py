"""What a sweep would do, and what it would cost, before anything runs."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bitstill.console import clock
from bitstill.runs import RunPaths, identity, read_record, teacher_of
from bitstill.status import CellState, look
from bitstill.sweep import Cell

# A checkpoint, two files of weights, curves and per-image results, as measured.
_RUN_BYTES = 6_100_000


def show_plan(cells: Sequence[Cell]) -> None:
    """Print every cell of a sweep with what would be done, the teachers, hours and disk.

    Time is estimated from the images per second of finished runs of the same kind under
    ``paths.output``; without any, it is said to be unknown.
    """
    table = Table("run", "now", "then", title=f"{len(cells)} runs", title_justify="left")
    seconds, left = 0.0, 0
    for cell in cells:
        state = look(cell.expected)
        action = _action(cell, state)
        table.add_row(cell.expected.name, state.status, action)
        if action != "skip":
            left += 1
            seconds += _seconds(cell, state)
    console = Console()
    console.print(table)
    wanted = _teachers(cells)
    trained = sum(wanted.values())
    cost = (
        "unknown until a run of each kind has finished here"
        if math.isnan(seconds)
        else (f"{clock(seconds)} of one process, by the speed of earlier runs here")
    )
    console.print(f"To do: {left} runs; time: {cost}; disk: {left * _RUN_BYTES / 1e6:.0f} MB")
    console.print(f"Teachers that students read: {len(wanted)}, of which {trained} are trained")


def _action(cell: Cell, state: CellState) -> str:
    if not cell.is_left:
        return "skip"
    if state.status == "done":
        return "run again"
    return f"go on from epoch {state.epoch}" if state.epoch else "run"


def _seconds(cell: Cell, state: CellState) -> float:
    """Estimate a cell's seconds, NaN where no run of its kind has finished."""
    kind = "teacher" if cell.config.is_teacher else "student"
    speeds = []
    for path in Path(cell.config.paths.output).glob("*/*/run.json"):
        record = read_record(RunPaths(path.parent))
        if record is not None and record.status == "done" and record.model == kind:
            speeds.append(record.images_per_second)
    if not speeds:
        return math.nan
    done = state.epoch if state.status != "done" else 0
    images = cell.config.data.training_images() * (cell.expected.epochs - done)
    return images / median(speeds)


def _teachers(cells: Sequence[Cell]) -> dict[str, bool]:
    """Return the identities of all teachers that students read, and whether each is trained."""
    found = {}
    for cell in cells:
        if cell.config.needs_teacher:
            name = identity(teacher_of(cell.config), cell.config.data.identity())
            record = read_record(RunPaths(Path(cell.config.paths.teachers) / name))
            found[name] = record is not None and record.status == "done"
    return found
