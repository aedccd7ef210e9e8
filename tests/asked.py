"""Runs that a made-up sweep asks for, and their identities."""

from pathlib import Path

from bitstill.report.sweeps import Run
from bitstill.runs import RunPaths
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
