"""Where teachers are kept, trained once for all sweeps."""

from collections.abc import Iterator
from pathlib import Path

from bitstill.runs.composed import composed
from bitstill.runs.paths import RunPaths
from bitstill.schema import TrainConfig

STORE = "teachers"  # the folder, beside the sweeps if none is configured


def in_store(teacher: TrainConfig, known_as: str) -> RunPaths:
    """Return where a teacher's files lie, or will lie, for all sweeps: by its identity."""
    return RunPaths(Path(teacher.paths.teachers) / known_as)


def teacher_stores(paths: RunPaths) -> Iterator[Path]:
    """Yield where a run's teacher may lie: beside the sweeps, or as configured."""
    yield paths.directory.parent.parent / STORE
    if isinstance(configured := composed(paths, "paths.teachers"), str):
        yield Path(configured)
