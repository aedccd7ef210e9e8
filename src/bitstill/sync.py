"""``bitstill sync``: what the runs of a sweep have logged offline, to wandb's server."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import Progress

from bitstill.errors import SweepFailedError, UserError

_SECONDS = 600  # for one run, pictures and artifacts included


@dataclass(frozen=True)
class Unsent:
    """A run's files that the server has not taken, one a sitting, the oldest first."""

    run_id: str
    folders: Sequence[Path]


def unsent(folder: Path) -> list[Unsent]:
    """Return the runs of a sweep that the server has not, or not wholly, taken.

    wandb marks a file that is sent: ``run-ID.wandb.synced`` beside it.

    Raises:
        UserError: no run of wandb lies in the folder.
    """
    files = list((folder / "wandb").glob("*run-*-*/run-*.wandb"))
    if not files:
        raise UserError(
            f"{folder} holds no runs of wandb: give a sweep's folder, such as multirun/quick, "
            "whose runs were trained with logger=wandb"
        )
    by_run: dict[str, list[Path]] = {}
    # By time: names are run-TIME-ID, with "offline-" in front or not.
    for file in sorted(files, key=lambda one: one.parent.name.removeprefix("offline-")):
        if not file.with_name(f"{file.name}.synced").exists():
            by_run.setdefault(file.stem.removeprefix("run-"), []).append(file.parent)
    return [Unsent(run_id, folders) for run_id, folders in by_run.items()]


def sync(folder: Path) -> str:
    """Send every run of a sweep that is not sent yet, with progress.

    What was sent is marked and left out the next time. A run that was cut short is sent again: its
    steps are its epochs, so the server knows those that it has.

    Args:
        folder: of the sweep.

    Returns:
        A line on what was done.

    Raises:
        UserError: no run of wandb lies in the folder, or there is no key for the server.
        SweepFailedError: some runs were not taken; it names them.
    """
    left, base = unsent(folder.resolve()), _base(folder.resolve())
    failures = [line for line in _send_all(left, base) if line]
    if failures:
        lines = "\n".join(failures)
        raise SweepFailedError(
            f"{len(failures)} of {len(left)} runs were not sent; the same command goes on:\n{lines}"
        )
    return f"{len(left)} runs sent" if left else "all runs were sent before"


def _base(folder: Path) -> Path:
    """Return the folder that training was called in, where it is now: artifacts are named from it.

    Hydra has kept how the output folder was given.
    """
    for kept in folder.glob("*/.hydra/config.yaml"):
        output = Path(OmegaConf.load(kept).paths.output)
        inside = not output.is_absolute() and ".." not in output.parts
        return folder.parents[len(output.parts)] if inside else Path.cwd()
    return Path.cwd()


def _send_all(left: Sequence[Unsent], base: Path) -> Iterator[str]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("sending", total=len(left))
        for one in left:
            progress.update(task, description=one.folders[-1].name)
            yield _send(one, base)
            progress.advance(task)


def _send(run: Unsent, base: Path) -> str:
    """Send one run; return an empty text, or why not."""
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *map(str, run.folders)]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,  # it would ask for a key
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            cwd=base,
        )
    except subprocess.TimeoutExpired:
        return f"  {run.run_id}: the server has not taken it within {_SECONDS} s"
    said = done.stdout + done.stderr
    if "No API key" in said or "Not authenticated" in said:
        raise UserError("there is no key for wandb's server: wandb login, or set WANDB_API_KEY")
    marks = [one / f"run-{run.run_id}.wandb.synced" for one in run.folders]
    if done.returncode == 0 and all(mark.exists() for mark in marks):
        return ""
    lines = [line for line in said.splitlines() if line.strip()]
    return f"  {run.run_id}: {lines[-1].strip() if lines else 'no word from wandb sync'}"
