"""``bitstill sync``: sends the offline runs of a sweep to wandb's server."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bitstill.bar import bar
from bitstill.errors import SweepFailedError, UserError, counted
from bitstill.loggers.names import is_of
from bitstill.loggers.wandb_files import is_sent, unsent, written
from bitstill.runs import RunPaths, runs_in, teacher_stores
from bitstill.runs.composed import composed
from bitstill.runs.locks import is_worked_on
from bitstill.runs.status import sweep_states
from bitstill.schema import TrainConfig

_ERROR = re.compile(r"[\w.]+(Error|Exception)\b: ")
_SECONDS = 600  # the limit for one run, with its pictures and artifacts


def _at_work(folder: Path) -> set[str]:
    """Return the identities of runs in progress: sent now, they would show as crashed."""
    # A teacher that trains only for students is not one of the sweep's runs; all share one store.
    runs = (run for run in map(RunPaths, folder.glob("*/")) if run.composed.exists())
    found = {
        stored.name
        for store in teacher_stores(next(runs, RunPaths(folder / "none")))
        for stored in store.glob("*/")
        if is_worked_on(RunPaths(stored))
    }
    with contextlib.suppress(UserError):  # without records, wandb's files suffice
        found |= {
            state.expected.identity for state in sweep_states(folder) if state.expected.is_at_work
        }
    return found


def sync(folder: Path) -> str:
    """Send every finished run of a sweep that is not sent yet, with progress.

    What was sent is marked and left out the next time. A run that was cut short is sent again:
    wandb has noted beside its file how far it was.

    Args:
        folder: of the sweep.

    Returns:
        A line on what was done.

    Raises:
        UserError: no run of wandb lies in the folder, or there is no key for the server.
        SweepFailedError: some runs were not taken; it names them.
    """
    folder = folder.resolve()
    if not written(folder):
        raise UserError(
            f"{folder} holds no runs of wandb: give a sweep's folder, such as multirun/quick, "
            "whose runs were trained with logger=wandb"
        )
    found, at_work = unsent(folder), _at_work(folder)
    left = {
        run_id: files
        for run_id, files in found.items()
        if not any(is_of(run_id, identity) for identity in at_work)
    }
    failures = list(_send_all(left, folder))
    if failures:
        lines = "\n".join(failures)
        raise SweepFailedError(
            f"{len(failures)} of {len(left)} runs were not sent; the same command goes on:\n{lines}"
        )
    said = f"{counted(len(left), 'run')} sent" if left else "all runs were sent before"
    waiting = len(found) - len(left)
    return said + (f"; {waiting} at work are not: again when they have ended" if waiting else "")


def _base(folder: Path) -> Path:
    """Return where the folder of the training command is now: artifact paths start from it.

    Hydra has kept how the output folder was given.
    """
    known = (composed(paths, "paths.output") for paths in runs_in(folder))
    if kept := next((one for one in known if one and isinstance(one, str)), None):
        output = Path(kept)
        inside = not output.is_absolute() and ".." not in output.parts
        inside &= len(output.parts) < len(folder.parents)  # or the folder has been moved
        return folder.parents[len(output.parts)] if inside else Path.cwd()
    return Path.cwd()


def _send_all(left: Mapping[str, Sequence[Path]], folder: Path) -> Iterator[str]:
    """Send runs one after another; return which failed, and why."""
    base = _base(folder)
    with bar(len(left), "sending", "runs") as shown:
        for number, (run_id, files) in enumerate(left.items(), start=1):
            try:
                if reason := _send(files, folder, base):
                    yield f"  {run_id}: {reason}"
            except subprocess.TimeoutExpired:  # the other runs would time out as well
                yield f"  {run_id}: the server has not taken it within {_SECONDS} s"
                yield from (f"  {other}: not tried" for other in list(left)[number:])
                return
            shown.update()


def _send(files: Sequence[Path], folder: Path, base: Path) -> str:
    """Send the files of a run; return why that failed, or an empty text."""
    options = ("--include-online", "--include-synced")
    folders = (str(file.parent) for file in files)
    # -P, since the files may be someone else's: with -m alone, a wandb.py in base would be run.
    command = [sys.executable, "-P", "-m", "wandb", "sync", *options, *folders]
    done = subprocess.run(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,  # or it might ask for a key
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        cwd=base,
        # WANDB_DIR: its own log goes into the folder, not into base.
        env={**os.environ, "WANDB_ERROR_REPORTING": "false", "WANDB_DIR": str(folder)},
    )
    said = done.stdout + done.stderr
    if "No API key" in said or "Not authenticated" in said:
        raise UserError("there is no key for wandb's server: wandb login, or set WANDB_API_KEY")
    if done.returncode == 0 and all(map(is_sent, files)):
        return ""
    return _reason(said) or "no word from wandb sync"


def _reason(said: str) -> str:
    """Return the error at the end of a traceback, also of several lines; else the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    return " ".join(lines[errors[-1] :] if errors else lines[-1:])


def say_what_is_not_sent(config: TrainConfig, folder: Path) -> None:
    """Print how many runs are logged offline and not sent, if wandb is in use."""
    count = len(unsent(folder)) if config.logger.to_wandb is not None else 0
    if count:
        command = f"bitstill sync {shlex.quote(str(folder))}"
        them = "them" if count > 1 else "it"
        print(f"{counted(count, 'run')} of wandb not sent: {command} sends {them}", file=sys.stderr)  # noqa: T201  # like progress
