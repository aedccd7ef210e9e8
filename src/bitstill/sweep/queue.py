"""The sweep's jobs in Slurm's queue: noted at submission, and found by later commands."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bitstill.errors import UserError
from bitstill.files import write_atomically
from bitstill.reading import fits, json_object

SUBMITTED = ".submitit"  # folder of a sweep's jobs, within the sweep's
_JOBS = "jobs.json"  # job ids, by the identity of their runs
# Without COMPLETING, since such runs have ended.
_STATES = "PENDING,RUNNING,SUSPENDED"
_ASK = ("squeue", "--me", "--noheader", "--array", "--format=%i", f"--states={_STATES}")
_SECONDS = 60.0


def remember(folder: Path, jobs: Mapping[str, str]) -> None:
    """Note the jobs of a sweep.

    Args:
        folder: the folder of the jobs' files.
        jobs: the job ids, by the identity of their runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / _JOBS, json.dumps(jobs, indent=1).encode())


def queued(folder: Path) -> dict[str, str]:
    """Return the noted jobs that are pending or running, in the form of :func:`remember`.

    Raises:
        UserError: Slurm does not answer.
    """
    noted = json_object(folder / _JOBS)
    there = _in_queue() if noted else set()
    return {run: job for run, job in noted.items() if fits(job, str) and job in there}


def _in_queue() -> set[str]:
    """Return the ids of all jobs of this user; a task of an array has an id such as 123_4."""
    try:
        said = subprocess.run(  # noqa: S603  # no part of it comes from input
            _ASK, capture_output=True, text=True, check=True, timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(
            f"squeue does not say what of the sweep is in the queue ({error}): give the same "
            "command when it answers"
        ) from error
    return set(said.stdout.split())
