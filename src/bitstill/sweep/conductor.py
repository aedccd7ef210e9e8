"""Conducts a sweep: launches the runs that are left, and prints the outcome."""

import logging
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from bitstill.errors import SweepFailedError, UserError, counted, first_line
from bitstill.explanations import say
from bitstill.loggers.sync import say_what_is_not_sent
from bitstill.report.sweeps import Run
from bitstill.runs.manifest import write_manifest
from bitstill.runs.status import RunState, look, stop_sign
from bitstill.schema import TrainConfig
from bitstill.sweep.console import print_tables, progress
from bitstill.sweep.launching import Launch, launch_all
from bitstill.sweep.patience import patience
from bitstill.sweep.plan import PlannedRun

log = logging.getLogger(__name__)


def conduct(
    runs: Sequence[PlannedRun],
    folder: Path,
    launch: Launch,
    *,
    in_workers: bool = False,
) -> None:
    """Run the runs that are left, with progress, and print what the sweep showed.

    Args:
        runs: all runs of the sweep.
        folder: the sweep's folder.
        launch: hands overrides to Hydra's launcher, and returns its ``JobReturn`` objects.
        in_workers: whether runs are in child processes of this one.

    Raises:
        SweepFailedError: after everything else has run, if some runs failed.
    """
    console = Console(stderr=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, [run.expected for run in runs])
    stop_sign(folder).unlink(missing_ok=True)
    left = _left(runs, console)
    if left and left[0].config.sweep.detach:
        launch([list(run.overrides) for run in left])
        line = f"submitted; bitstill status {shlex.quote(str(folder))} --watch says how far it is"
        console.print(line, markup=False, soft_wrap=True)  # unbroken, to be copied
        return
    raised = _launched(left, launch, console, in_workers=in_workers) if left else {}
    states = [look(run.expected) for run in runs]
    begun = [Run(one.expected.paths, one.record) for one in states if one.record is not None]
    try:
        print_tables(begun)
    except UserError as error:  # an error here must not hide failed runs
        say(f"no tables: {error}")
    if left and any(run.done for run in begun):
        _summarize(left[0].config, folder)
    _say_what_is_not_logged(left, console)
    say_what_is_not_sent(runs[0].config, folder)
    _raise_failures(states, raised, stopped=stop_sign(folder).exists())


def _launched(
    left: Sequence[PlannedRun], launch: Launch, console: Console, *, in_workers: bool
) -> dict[str, Exception]:
    """Launch runs, with progress; return the errors of their jobs by the identity of the run."""
    from scipy import special  # noqa: F401  # for the tables; runs may use up the memory

    waiting = (
        patience(lambda: any(run.expected.is_at_work for run in left))
        if in_workers
        else nullcontext()
    )
    with progress([run.expected for run in left], console), waiting:
        return launch_all(left, launch)


def _left(runs: Sequence[PlannedRun], console: Console) -> list[PlannedRun]:
    """Return the runs that are left, and print how many there are."""
    works = [run.work(look(run.expected)) for run in runs]
    count = Counter(works)
    line = f"{counted(len(runs), 'run')}: {count['skip']} skipped, {count['train']} to do"
    console.print(line + (f", {count['log']} done before to log" if count["log"] else ""))
    return [run for run, work in zip(runs, works, strict=True) if work != "skip"]


def _say_what_is_not_logged(left: Sequence[PlannedRun], console: Console) -> None:
    """Print how many finished runs some logger lacks; each run's log says why."""
    count = sum(run.work(look(run.expected)) == "log" for run in left)
    if count:
        runs = f"{count} finished run{'s are' if count > 1 else ' is'} not wholly logged"
        console.print(f"{runs} (train.log says why): the same command goes on", soft_wrap=True)


def _summarize(config: TrainConfig, folder: Path) -> None:
    """Log the summary of the sweep to wandb, if its runs are logged there."""
    settings = config.logger.to_wandb
    if settings is None:
        return
    from bitstill.loggers.summary import log_summary

    try:
        log_summary(settings, folder, config.name)
    except Exception as error:  # noqa: BLE001  # the runs are done even if wandb fails
        log.warning("the sweep's summary is not logged to wandb: %s", error)


def _raise_failures(
    states: Sequence[RunState], unrecorded: Mapping[str, Exception], *, stopped: bool
) -> None:
    """Raise an error that names unfinished runs, with the error of each record or job."""
    failed = []
    for state in states:
        where = state.expected.paths.directory
        if state.status == "failed":
            failed.append(f"  {state.expected.name}: {state.error} ({where})")
        elif state.status != "done" and (lost := unrecorded.get(state.expected.identity)):
            kind = type(lost).__name__
            failed.append(f"  {state.expected.name}: {kind}: {first_line(lost)} ({where})")
        elif state.status in ("missing", "stored") and stopped:
            failed.append(f"  {state.expected.name}: not started, sweep.on_failure=stop")
        elif state.status != "done":
            failed.append(f"  {state.expected.name}: {state.status} ({where})")
    if failed:
        lines = "\n".join(failed)
        raise SweepFailedError(f"{len(failed)} of {len(states)} runs are not done:\n{lines}")
