"""The terminal output of a sweep: live progress, failures, tables."""

import json
import math
import shlex
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from bitstill.errors import UserError
from bitstill.report.sets import run_sets
from bitstill.report.sweeps import STATISTICS_NAMES, Run, with_teachers
from bitstill.report.table import in_encoding, output_console, print_set_name, to_rich
from bitstill.report.tables import CAPTION, accuracy_tables
from bitstill.runs import ENDED
from bitstill.runs.manifest import Expected
from bitstill.runs.status import RunState, look, seconds_left, stop_sign, sweep_states
from bitstill.sweep.queue import SUBMITTED, queued

_UNFINISHED = ("running", "failed", "interrupted", "stored", "queued", "missing")
_LATEST = 5  # finished runs that stay visible
# Shown first if the terminal is too small: runs in progress, or in need of attention.
_FIRST = ("running", "failed", "interrupted", "queued", "done", "stored", "missing")
_OTHER_LINES = 2  # lines of a terminal for the summary and the cursor
_POLL_SECONDS = 0.5
_WATCH_SECONDS = 2.0
_QUIET_SECONDS = 600.0  # of silence without a terminal before a line on progress
_QUEUE_SECONDS = 30.0  # between queries: Slurm's controller serves the whole cluster


def clock(seconds: float) -> str:
    """Return seconds as minutes:seconds, or hours:minutes:seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def print_tables(runs: Sequence[Run]) -> None:
    """Print Tables 1 to 4 of each set, and the command for the full report."""
    console = output_console()
    sets = run_sets(with_teachers(runs))
    for one in sets:
        if len(sets) > 1:
            print_set_name(console, one.name)
        for table in accuracy_tables(one):
            console.print()
            console.print(to_rich(table, encoding=console.encoding))
    if runs:
        console.print(in_encoding(CAPTION, console.encoding), style="dim")
        folder = runs[0].paths.directory.parent
        line = f"\nStatistics, figures and a page: bitstill report {shlex.quote(str(folder))}"
        console.print(line, soft_wrap=True, markup=False)


def summary(states: Sequence[RunState]) -> str:
    """Return one line about the whole sweep."""
    counts: Counter[str] = Counter(state.status for state in states)
    parts = [f"{counts['done']}/{len(states)} done"]
    parts += [f"{counts[status]} {status}" for status in _UNFINISHED if counts[status]]
    left = seconds_left(states)
    if left:
        parts.append(f"about {clock(left)} left")
    return ", ".join(parts)


def _outcome(state: RunState) -> tuple[str, str]:
    """Return a run's accuracy and time, or its job; empty texts where there is none."""
    if state.job is not None:
        return f"job {state.job}", ""
    if state.accuracy is None or state.record is None:
        return "", ""
    statistics = STATISTICS_NAMES[state.record.deciding]
    return f"test {100 * state.accuracy:5.1f} % ({statistics})", clock(state.record.seconds)


def _grid(states: Sequence[RunState]) -> Table:
    text, number = partial(Column, no_wrap=True), partial(Column, no_wrap=True, justify="right")
    shrinking = Column(max_width=20)  # in a narrow terminal, the bar shrinks first
    grid = Table.grid(text(), text(), shrinking, number(), text(), number(), padding=(0, 2))
    for state in states:
        done, total, epochs = _epochs(state)
        bar = ProgressBar(total=total, completed=done)
        grid.add_row(escape(state.expected.name), state.status, bar, epochs, *_outcome(state))
    return grid


def _in_sight(states: Sequence[RunState], room: int) -> list[RunState]:
    """Return the states that fit on the terminal, unfinished ones first, in their order."""
    places = sorted(range(len(states)), key=lambda place: _FIRST.index(states[place].status))
    return [states[place] for place in sorted(places[:room])]


def _room(console: Console) -> int:
    """Return how many lines of a terminal are left for runs and their errors."""
    return max(0, console.height - _OTHER_LINES)


def _epochs(state: RunState) -> tuple[int, int, str]:
    """Return finished and total epochs, also as text; the teacher's if a student waits for it."""
    done, total, whose = state.epoch, state.expected.epochs, ""
    if (teacher := state.teacher) is not None:
        done, total, whose = teacher.epoch, teacher.epochs, "teacher "
    return done, total, f"{whose}{done}/{total} epochs"


def show_status(folder: Path, *, watch: bool, as_json: bool) -> None:
    """Print the state of a sweep, once or until nothing more will change.

    Raises:
        UserError: there is no sweep in the folder, or both options are given.
    """
    if watch and as_json:
        raise UserError("--watch --json is not allowed: give one of them")
    sweep = _QueuedSweep(folder)
    states = sweep.states()
    if as_json:
        print(json.dumps([state.plain() for state in states], indent=2))  # noqa: T201  # the output
        return

    console = output_console()

    def view(*, whole: bool = not console.is_terminal) -> Group:
        room = 2 * len(states) if whole else _room(console)
        failed = [f"{state.expected.name}: {state.error}" for state in states if state.error]
        lines = [Text(one, no_wrap=not whole) for one in failed[: room // 2]]
        grid = _grid(_in_sight(states, room - len(lines)))
        return Group(grid, *lines, Text(summary(states), style="bold"))

    if not watch:
        console.print(view(whole=True))
        return
    with Live(view(), console=console, auto_refresh=False) as live:
        while _goes_on(states, stopped=stop_sign(folder).exists()):
            time.sleep(_WATCH_SECONDS)
            states = sweep.states()
            live.update(view(), refresh=True)
        live.update(view(whole=True))  # what stays on the terminal


def _goes_on(states: Sequence[RunState], *, stopped: bool) -> bool:
    """Whether runs are in progress or still to come; none come after ``on_failure=stop``."""
    awaited = ("running",) if stopped else ("running", "queued", "stored", "missing")
    return any(state.status in awaited for state in states)


class _QueuedSweep:
    """The runs of a sweep, with their Slurm jobs if Slurm answers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, str] = {}
        self._asked = -math.inf

    def states(self) -> list[RunState]:
        """Return the states of all runs; query the queue seldom, and only if a run may be in it."""
        states = sweep_states(self._folder)
        is_due = time.monotonic() - self._asked > _QUEUE_SECONDS
        if is_due and any(one.status not in ("done", "running") for one in states):
            with suppress(UserError):
                self._known = queued(self._folder / SUBMITTED)
            self._asked = time.monotonic()
        return [one.with_job(self._known) for one in states]


class _Watch:
    """The states of a sweep's runs; final ones are not read again."""

    def __init__(self, expected: Sequence[Expected]) -> None:
        self.states = [look(one) for one in expected]
        self._before = list(self.states)  # what a rerun began with is no news
        self._settled: set[str] = set()
        self._told = time.monotonic()

    def news(self) -> list[str]:
        """Read the states again; return a line for each run that has newly reached a final one.

        If there is none and the last line was long ago, return a line on the others' progress.
        """
        lines = []
        for state in self._refresh():
            said = f"{state.expected.name}: {state.status} {'  '.join(_outcome(state))}".rstrip()
            lines.append(f"[{summary(self.states)}] {said}")
        running = [state for state in self.states if state.status == "running"]
        if running and not lines and time.monotonic() - self._told > _QUIET_SECONDS:
            said = ", ".join(f"{state.expected.name}: {_epochs(state)[2]}" for state in running)
            lines = [f"[{summary(self.states)}] {said}"]
        if lines:
            self._told = time.monotonic()
        return lines

    def _refresh(self) -> list[RunState]:
        fresh = []
        for index, state in enumerate(self.states):
            if state.expected.identity in self._settled:
                continue
            self.states[index] = state = look(state.expected)
            if state.status in ENDED and state != self._before[index]:
                self._settled.add(state.expected.identity)
                fresh.append(state)
        return fresh

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        done = [state for state in self.states if state.status == "done"]
        running = [state for state in self.states if state.status == "running"]
        yield _grid(_in_sight([*done[-_LATEST:], *running], _room(console)))
        yield Text(summary(self.states), style="bold")


@contextmanager
def progress(expected: Sequence[Expected], console: Console) -> Iterator[None]:
    """Show progress while the body runs: a live table on a terminal, otherwise lines."""
    watch, stopped = _Watch(expected), threading.Event()
    live = Live(watch, console=console, transient=True) if console.is_terminal else None

    def report() -> None:
        for line in watch.news():
            if live is None:
                print(line, file=sys.stderr, flush=True)  # noqa: T201  # no terminal: plain lines

    def poll() -> None:
        while not stopped.wait(_POLL_SECONDS):
            with suppress(OSError, UserError):  # a network disk's hiccup: look again later
                report()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        with live or nullcontext():
            yield
    finally:
        stopped.set()
        thread.join()
        report()
