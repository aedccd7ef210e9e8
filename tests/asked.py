"""Runs that a made-up sweep asks for, and their identities."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitstill.report.sweeps import Run
from bitstill.runs import Row, RunPaths, RunRecord
from bitstill.runs.manifest import Expected

ONE, TWO, TEACHER = "1" * 64, "2" * 64, "3" * 64


def sweeps_folder(parent: Path) -> Path:
    """Make the folder of a sweep, beside a teacher store."""
    found = parent / "output" / "mine"
    found.mkdir(parents=True)
    return found


def expected(folder: Path, name: str, identity: str, *, epochs: int = 4) -> Expected:
    """Return a student of a sweep."""
    return Expected(f"student {name}", 0, identity, epochs, RunPaths(folder / name))


def teacher(folder: Path) -> Expected:
    """Return a teacher of a sweep, which is trained in the store."""
    stored = RunPaths(folder.parent / "teachers" / TEACHER)
    return Expected("teacher", 0, TEACHER, 4, RunPaths(folder / "teacher"), stored)


def asked_again(run: Run, stored: RunPaths | None = None, *, difference: str = "") -> Expected:
    """Return a run of eight epochs that is there as its sweep asked for it."""
    record = run.record
    return Expected(record.cell, record.seed, record.identity, 8, run.paths, stored, difference)


def absent(sweep: Path, cell: str, seed: int) -> Expected:
    """Return a run of eight epochs of which nothing is there."""
    name = f"{cell} {seed}"
    return Expected(cell, seed, name, 8, RunPaths(sweep / name))


LAST: Row = {"epoch": 2, "test/accuracy": 0.625}
SELECTIONS: dict[str, dict[str, Row | None]] = {
    "running": {"last": {"epoch": 2, "test/accuracy": 0.5}, "best_val": None, "best_test": LAST},
    "precise": {"last": LAST, "best_val": None, "best_test": LAST},
}


def put(record: RunRecord, paths: RunPaths) -> None:
    paths.directory.mkdir(parents=True, exist_ok=True)
    record.write(paths)


# Holds a run's lock until it is killed.
HOLD = """
import sys, time
from pathlib import Path
from bitstill.runs.locks import exclusive
from bitstill.runs import RunPaths
with exclusive(RunPaths(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def worked_on(paths: RunPaths) -> Iterator["subprocess.Popen[str]"]:
    """Let another process work on a run."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", HOLD, str(paths.directory)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()
