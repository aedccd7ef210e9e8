"""The files that wandb writes for a run, one per process, and its mark on those sent."""

import os
from pathlib import Path

_HEADER_BYTES = 7
_QUIET = {
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_X_DISABLE_STATS": "true",
}


def keep_wandb_quiet() -> None:
    """Forbid wandb, before it is imported, to print, report errors or sample the machine."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def written(folder: Path, run_id: str = "*") -> list[Path]:
    """Return wandb's files of a sweep's runs, or of one run, oldest first.

    They are ``wandb/[offline-]run-TIME-ID/run-ID.wandb`` in the sweep's folder. One that was killed
    at its beginning has left no more than a header, and wandb would send none of the run's others.
    """
    found = (folder / "wandb").glob(f"*run-*-{run_id}/run-{run_id}.wandb")
    whole = filter(has_data, found)
    return sorted(whole, key=lambda file: file.parent.name.removeprefix("offline-"))


def has_data(file: Path) -> bool:
    """Whether wandb has written more than a header."""
    return file.exists() and file.stat().st_size > _HEADER_BYTES


def online_folders(folder: Path, run_id: str) -> list[Path]:
    """Return the folders of a run that was logged online."""
    return list((folder / "wandb").glob(f"run-*-{run_id}"))


def id_of(file: Path) -> str:
    """Return the id of the run in a file."""
    return file.stem.removeprefix("run-")


def is_sent(file: Path) -> bool:
    """Whether a server has the file, with all that was written since."""
    mark = _mark(file)
    return mark.exists() and mark.stat().st_mtime_ns >= file.stat().st_mtime_ns


def unsent(folder: Path) -> dict[str, list[Path]]:
    """Return the files of a sweep's runs that a server lacks, wholly or in part, by run.

    They begin with one that is not sent. Those behind it were, perhaps; without them the server
    would go back to what it was then.
    """
    found: dict[str, list[Path]] = {}
    for file in written(folder):
        if id_of(file) in found or not is_sent(file):
            found.setdefault(id_of(file), []).append(file)
    return found


def mark_sent(file: Path) -> None:
    """Mark a file as ``wandb sync`` does."""
    _mark(file).touch()


def _mark(file: Path) -> Path:
    return file.with_name(f"{file.name}.synced")
