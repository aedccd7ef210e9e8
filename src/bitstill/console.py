"""What a sweep says in the terminal: live progress, failures, tables.

It looks at the records that the runs write, so it works alike for runs in this process, in others
and on other machines.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.core.utils import JobStatus
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bitstill.errors import SweepFailedError
from bitstill.report.sweeps import Run, run_sets
from bitstill.report.table import in_encoding, to_rich
from bitstill.report.tables import CAPTION, accuracy_tables
from bitstill.runs import RunRecord
from bitstill.sweep import Cell

_LATEST = 5  # finished runs that stay in sight
_POLL_SECONDS = 0.5


def show_sweep(cells: Sequence[Cell], launch: Callable[[list[list[str]]], list[Any]]) -> list[Any]:
    """Run the cells that are left, with progress, and print what the sweep showed.

    Args:
        cells: all of the sweep.
        launch: hands overrides to Hydra's launcher, and returns its ``JobReturn`` objects.

    Raises:
        SweepFailedError: after everything else has run, if some runs failed.
    """
    console = Console(stderr=True)
    left = [cell for cell in cells if not cell.done]
    console.print(f"{len(cells)} runs: {len(cells) - len(left)} done, {len(left)} to do")
    returns: list[Any] = []
    if left:
        with _progress(left, console):
            returns = launch([list(cell.overrides) for cell in left])
    records = [(cell, record) for cell in cells if (record := cell.record()) is not None]
    print_tables([Run(cell.paths, record) for cell, record in records])
    failed = [
        f"  {_name(cell)}: {type(job._return_value).__name__}: {job._return_value}"
        f" ({cell.paths.directory})"
        for cell, job in zip(left, returns, strict=True)
        if job.status == JobStatus.FAILED
    ]
    if failed:
        lines = "\n".join(failed)
        raise SweepFailedError(f"{len(failed)} of {len(cells)} runs failed:\n{lines}")
    return returns


def print_tables(runs: Sequence[Run]) -> None:
    """Print Tables 1 to 4, one set for each kind of run, and how to see the rest."""
    console = Console()
    for runs_of_set in run_sets(runs):
        for table in accuracy_tables(runs_of_set):
            console.print()
            console.print(to_rich(table, encoding=console.encoding))
    if runs:
        console.print(in_encoding(CAPTION, console.encoding), style="dim")
        folder = runs[0].paths.directory.parent
        console.print(f"\nStatistics, figures and a page: bitstill report {folder}", soft_wrap=True)


def _name(cell: Cell) -> str:
    config = cell.config
    label = "teacher" if config.is_teacher else config.loss_name
    temperature = "" if config.is_teacher else f" T={config.temperature.value:g}"
    return f"{label}{temperature} seed {config.seed}"


class _Watch:
    """The state of a sweep's unfinished cells, read from their records."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells
        self.begun = time.monotonic()
        self.records: dict[str, RunRecord | None] = {cell.identity: None for cell in cells}
        self._epochs_before: dict[str, int] = {}
        self.refresh()
        self._epochs_before = {key: self._epoch(key) for key in self.records}

    def _epoch(self, identity: str) -> int:
        record = self.records[identity]
        return record.epoch if record is not None else 0

    def refresh(self) -> list[Cell]:
        """Read the records again; return the cells that finished since."""
        finished = []
        for cell in self.cells:
            known = self.records[cell.identity]
            if known is None or known.status != "done" or not cell.paths.record.exists():
                self.records[cell.identity] = record = cell.record()
                if record is not None and record.status == "done":
                    finished.append(cell)
        return finished

    def having(self, status: str) -> list[Cell]:
        """Return the cells with a record of a status."""
        found = ((cell, self.records[cell.identity]) for cell in self.cells)
        return [cell for cell, record in found if record is not None and record.status == status]

    def seconds_left(self) -> float | None:
        """Estimate from the epochs finished since the sweep began; None while there are none."""
        planned = sum(cell.config.schedule.epochs for cell in self.cells)
        finished = sum(self._epoch(cell.identity) for cell in self.cells)
        since = finished - sum(self._epochs_before.values())
        if since <= 0:
            return None
        return (planned - finished) * (time.monotonic() - self.begun) / since

    def summary(self) -> str:
        """Return a line on the whole."""
        left = self.seconds_left()
        estimate = "" if left is None else f", about {_clock(left)} left"
        done, running = len(self.having("done")), len(self.having("running"))
        return f"{done}/{len(self.cells)} done, {running} running{estimate}"

    def line(self, cell: Cell) -> str:
        """Return what is known of a cell that has a record."""
        record = self.records[cell.identity]
        if record is None or not record.selections:
            return "starting"
        last = next(iter(record.selections.values()))["last"]
        assert last is not None  # noqa: S101  # only best_val may be
        return f"test {100 * last['test/accuracy']:5.1f} %  {_clock(record.seconds)}"

    def __rich__(self) -> Group:
        grid = Table.grid(padding=(0, 2))
        for cell in self.having("done")[-_LATEST:] + self.having("running"):
            total = cell.config.schedule.epochs
            bar = ProgressBar(total=total, completed=self._epoch(cell.identity), width=20)
            epochs = f"{self._epoch(cell.identity)}/{total} epochs"
            grid.add_row(_name(cell), bar, epochs, self.line(cell))
        return Group(grid, Text(self.summary(), style="bold"))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def _progress(cells: Sequence[Cell], console: Console) -> Iterator[None]:
    """Show progress while the body runs: a live table on a terminal, else a line a finished run."""
    watch, stopped = _Watch(cells), threading.Event()
    live = Live(watch, console=console, transient=True) if console.is_terminal else None

    def look() -> None:
        for cell in watch.refresh():
            line = f"[{watch.summary()}] {_name(cell)}: {watch.line(cell)}"
            if live is None:
                print(line, file=sys.stderr, flush=True)  # noqa: T201  # no terminal: plain lines

    def poll() -> None:
        while not stopped.wait(_POLL_SECONDS):
            look()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        if live is None:
            yield
        else:
            with live:
                yield
    finally:
        stopped.set()
        thread.join()
        look()
