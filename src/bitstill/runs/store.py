"""Where teachers are kept, trained once for all sweeps."""

from collections.abc import Iterator
from pathlib import Path

from bitstill.runs.composed import composed
from bitstill.runs.paths import RunPaths
from bitstill.schema import TrainConfig

STORE = "teachers"  # the default folder, beside the sweeps


def in_store(teacher: TrainConfig, known_as: str) -> RunPaths:
    """Return the files of a teacher in the store, under its identity."""
    return RunPaths(Path(teacher.paths.teachers) / known_as)


def teacher_stores(paths: RunPaths) -> Iterator[Path]:
    """Yield the folders where a run's teacher may be: beside the sweeps, or as configured."""
    yield paths.directory.parent.parent / STORE
    if isinstance(configured := composed(paths, "paths.teachers"), str):
        yield Path(configured)
