"""Finds the runs in the folder of a sweep."""

from pathlib import Path

from bitstill.errors import UserError
from bitstill.runs.paths import RunPaths
from bitstill.runs.record import RunRecord, known_record

MANIFEST = "sweep.json"  # in a sweep's folder: the list of its runs


def no_sweep(folder: Path) -> UserError:
    """Return the error for a folder that is not a sweep's."""
    if RunPaths(folder).record.exists():
        return UserError(f"{folder} is a run: give the folder of its sweep, {folder.parent}")
    what = "holds no runs" if folder.is_dir() else "is not a folder"
    return UserError(f"{folder} {what}: give the folder of a sweep, such as multirun/quick")


def runs_in(folder: Path) -> list[RunPaths]:
    """Return the runs in a sweep's folders that have begun, sorted by name."""
    return [RunPaths(path.parent) for path in sorted(folder.glob("*/run.json"))]


def known_runs(folder: str | Path) -> list[tuple[RunPaths, RunRecord]]:
    """Return the runs of a sweep with their records; warn of damaged ones."""
    found = ((paths, known_record(paths)) for paths in runs_in(Path(folder)))
    return [(paths, record) for paths, record in found if record is not None]


def load_sweep(folder: str | Path) -> list[RunRecord]:
    """Read all records in a sweep's folders, like :func:`known_runs`.

    Raises:
        UserError: it is not a sweep's folder; or as :func:`read_record` raises, except for damage.
    """
    folder = Path(folder)
    if not runs_in(folder) and not (folder / MANIFEST).exists():
        raise no_sweep(folder)
    return [record for _, record in known_runs(folder)]
