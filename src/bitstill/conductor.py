"""Conducts a sweep: plan, launch, survive what dies, and say what came of it."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from rich.console import Console

from bitstill.console import print_tables, progress
from bitstill.errors import SweepFailedError
from bitstill.patience import patience
from bitstill.report.sweeps import Run
from bitstill.runs import is_worked_on
from bitstill.schema import TrainConfig
from bitstill.status import CellState, look, mark_failed, stop_sign, write_manifest
from bitstill.sweep import Cell

log = logging.getLogger(__name__)

Launch = Callable[[list[list[str]]], Sequence[Any]]

_DEATHS_ALLOWED = 3  # of a run's process, before the run counts as failed
_NOBODY = ""  # the identity that a death counts for, when no run was at work


def conduct(
    cells: Sequence[Cell], folder: Path, launch: Launch, *, in_workers: bool = False
) -> Sequence[Any]:
    """Run the cells that are left, with progress, and print what the sweep showed.

    Args:
        cells: all of the sweep.
        folder: of the sweep.
        launch: hands overrides to Hydra's launcher, and returns its ``JobReturn`` objects.
        in_workers: whether it runs them in processes below this one.

    Raises:
        SweepFailedError: after everything else has run, if some runs failed.
    """
    console = Console(stderr=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, [cell.expected for cell in cells])
    stop_sign(folder).unlink(missing_ok=True)
    left = [cell for cell in cells if cell.is_left]
    console.print(f"{len(cells)} runs: {len(cells) - len(left)} skipped, {len(left)} to do")
    returns: Sequence[Any] = []
    unrecorded: dict[str, Exception] = {}
    if left and left[0].config.sweep.detach:
        returns = launch([list(cell.overrides) for cell in left])
        line = f"submitted; bitstill status {folder} --watch says how far it is"
        console.print(line, markup=False, soft_wrap=True)  # to be copied
        return returns
    if left:
        from scipy import special  # noqa: F401  # the tables need it, and runs may use up the memory

        waiting = patience(lambda: any(map(_is_at_work, left))) if in_workers else nullcontext()
        with progress([cell.expected for cell in left], console), waiting:
            launched, returns = _launch_all(left, launch)
        for cell, returned in zip(launched, returns, strict=False):
            if isinstance(error := getattr(returned, "_return_value", None), Exception):
                unrecorded[cell.expected.identity] = error
    states = [look(cell.expected) for cell in cells]
    runs = [Run(one.expected.paths, one.record) for one in states if one.record is not None]
    print_tables(runs)
    if left and any(run.done for run in runs):
        _summarize(left[0].config, folder)
    _raise_failures(states, unrecorded, stopped=stop_sign(folder).exists())
    return returns


def _is_at_work(cell: Cell) -> bool:
    stored = cell.expected.stored
    return is_worked_on(cell.expected.paths) or (stored is not None and is_worked_on(stored))


def _summarize(config: TrainConfig, folder: Path) -> None:
    """Log the sweep as a whole, where its runs are logged to wandb."""
    settings = config.logger.wandb
    if settings is None or settings.mode == "disabled":
        return
    from bitstill.loggers.summary import log_summary

    try:
        log_summary(settings, folder, config.name)
    except Exception as error:  # noqa: BLE001  # the runs are done, whatever wandb says
        log.warning("the sweep's summary is not logged to wandb: %s", error)


def _launch_all(left: Sequence[Cell], launch: Launch) -> tuple[Sequence[Cell], Sequence[Any]]:
    """Launch, and again what is left when a worker process dies and takes the others with it.

    Returns:
        What was launched last, and what came back.
    """
    deaths: Counter[str] = Counter()
    before = {cell.overrides: look(cell.expected) for cell in left}
    latest = before
    while True:
        try:
            return left, launch([list(cell.overrides) for cell in left])
        except BrokenProcessPool as error:
            now = {cell.overrides: look(cell.expected) for cell in left}
            killed = [
                state
                for overrides, state in now.items()
                if state.status == "interrupted" and state != latest[overrides]
            ]
            # With none at work, a process has died before it began a run; nobody knows which.
            deaths.update([state.expected.identity for state in killed] or [_NOBODY])
            for state in killed:
                if deaths[state.expected.identity] >= _DEATHS_ALLOWED:
                    mark_failed(state, f"its process was killed {_DEATHS_ALLOWED} times")
            left = [cell for cell in left if _is_left(look(cell.expected), before[cell.overrides])]
            if not left or deaths[_NOBODY] >= _DEATHS_ALLOWED:
                return left, [_lost(error) for _ in left]
            latest = now


def _lost(error: BrokenProcessPool) -> JobReturn:
    """Return what a launcher would of a job whose process died before it began."""
    lost = JobReturn()
    lost.status, lost.return_value = JobStatus.FAILED, error
    return lost


def _is_left(now: CellState, before: CellState) -> bool:
    """Whether a run has not come to an end, other than the one that it is run again for."""
    return now.status not in ("done", "failed") or now == before


def _raise_failures(
    states: Sequence[CellState], unrecorded: Mapping[str, Exception], *, stopped: bool
) -> None:
    """Name what is not done, by its record, or by what its job has raised if that could not be."""
    failed = []
    for state in states:
        where = state.expected.paths.directory
        if state.status == "failed":
            error = (state.record.error if state.record is not None else None) or {}
            first = (error.get("message") or "no message").splitlines()[0]
            failed.append(f"  {state.expected.name}: {error.get('type')}: {first} ({where})")
        elif state.status != "done" and (lost := unrecorded.get(state.expected.identity)):
            first = (str(lost) or "no message").splitlines()[0]
            failed.append(f"  {state.expected.name}: {type(lost).__name__}: {first} ({where})")
        elif state.status == "missing" and stopped:
            failed.append(f"  {state.expected.name}: not started, sweep.on_failure=stop")
        elif state.status != "done":
            failed.append(f"  {state.expected.name}: {state.status} ({where})")
    if failed:
        lines = "\n".join(failed)
        raise SweepFailedError(f"{len(failed)} of {len(states)} runs are not done:\n{lines}")
