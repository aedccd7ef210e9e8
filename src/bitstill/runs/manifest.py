"""A sweep's manifest: the runs that it asks for, written before any has begun."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bitstill.files import locked, remove_partial_files, write_atomically
from bitstill.reading import fits, loads, reading
from bitstill.runs.found import MANIFEST
from bitstill.runs.identity import TEACHER
from bitstill.runs.locks import is_worked_on
from bitstill.runs.paths import RunPaths

# The fields of an expected run that an entry holds unchanged; and with its two folders.
_PLAIN = {"cell": str, "seed": int, "difference": str, "identity": str, "epochs": int}
_ENTRY = _PLAIN | {"directory": str, "stored": str | None}


@dataclass(frozen=True)
class Expected:
    """A run that a sweep asks for.

    Attributes:
        cell: the cell that the run fills.
        seed: the run's seed.
        identity: the run's identity.
        epochs: how many epochs are planned.
        paths: the run's files.
        stored: files in the teacher store: a teacher's own, where it is trained, or those of the
            teacher that a student reads; otherwise None.
        difference: how it differs from other runs of the sweep with its cell and seed, or empty.
    """

    cell: str
    seed: int
    identity: str
    epochs: int
    paths: RunPaths
    stored: RunPaths | None = None
    difference: str = ""

    @property
    def name(self) -> str:
        """The readable name: ``soft T=15 seed 0``, and what else differs."""
        return ", ".join(filter(None, (f"{self.cell} seed {self.seed}", self.difference)))

    @property
    def is_teacher(self) -> bool:
        """Whether the run is a teacher."""
        return self.cell == TEACHER

    @property
    def places(self) -> list[RunPaths]:
        """The folders where the run may be trained, its own first."""
        return [self.paths, self.stored] if self.is_teacher and self.stored else [self.paths]

    @property
    def is_at_work(self) -> bool:
        """Whether a process works on the run, in any of these folders."""
        return any(is_worked_on(paths) for paths in self.places)


def manifest_path(folder: Path) -> Path:
    """Return the file that lists the runs of a sweep."""
    return folder / MANIFEST


def write_manifest(folder: Path, expected: Iterable[Expected]) -> None:
    """Add runs to the list of those that a sweep asks for, in its folder."""
    path = manifest_path(folder)
    with locked(folder / "sweep.lock"):  # two sweeps may start in one folder at once
        known = {one.identity: one for one in read_manifest(folder)}
        known |= {one.identity: one for one in expected}
        remove_partial_files(path)
        write_atomically(path, manifest_text(folder, known.values()).encode())


def manifest_text(folder: Path, expected: Iterable[Expected]) -> str:
    """Return a manifest as text, with the runs' folders relative to its own."""
    entries = [
        {name: getattr(one, name) for name in _PLAIN}
        | {
            "directory": os.path.relpath(one.paths.directory, folder),
            "stored": _relative(one.stored.directory, folder) if one.stored else None,
        }
        for one in expected
    ]
    return json.dumps({"runs": entries}, indent=1)


def _relative(directory: Path, folder: Path) -> str:
    """Return a relative path that is right even if one of the two folders is a link."""
    return os.path.relpath(os.path.realpath(directory), os.path.realpath(folder))


def read_manifest(folder: Path) -> list[Expected]:
    """Return the runs that a sweep in this folder has asked for; none if there was no sweep.

    Raises:
        UserError: the manifest cannot be read.
    """
    path = manifest_path(folder)
    if not path.exists():
        return []
    with reading(path, "remove it, the sweep writes it again"):
        found = loads(path.read_bytes())
        if not (isinstance(found, dict) and isinstance(entries := found.get("runs"), list)):
            raise ValueError("it lists no runs as this version does")
        if not all(fits(entry[key], kind) for entry in entries for key, kind in _ENTRY.items()):
            raise ValueError("a run in it has wrong values")
        if not all((one["cell"] + one["difference"]).isprintable() for one in entries):
            raise ValueError("a run in it has a name that cannot be printed")
        return [
            Expected(
                **{name: entry[name] for name in _PLAIN},
                paths=_place(folder, entry["directory"]),
                stored=_place(folder, entry["stored"]) if entry["stored"] else None,
            )
            for entry in entries
        ]


def _place(folder: Path, relative: str) -> RunPaths:
    """Return the files of a run; refuse a path that does not end in the name of a folder."""
    if b"\0" in os.fsencode(relative) or Path(relative).name in ("", ".."):
        raise ValueError("a run in it has no folder")
    return RunPaths(folder / relative)
