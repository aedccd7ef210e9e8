"""Where teachers lie, trained once for all sweeps."""

from pathlib import Path

from bitstill.runs.composed import composed
from bitstill.runs.paths import RunPaths
from bitstill.schema import TrainConfig

STORE = "teachers"  # the folder, beside the sweeps if none is configured


def in_store(teacher: TrainConfig, known_as: str) -> RunPaths:
    """Return where a teacher's files lie, or will lie, for all sweeps: by its identity."""
    return RunPaths(Path(teacher.paths.teachers) / known_as)


def teacher_stores(paths: RunPaths) -> list[Path]:
    """Return where a run's teacher may lie: beside the sweeps, or as configured."""
    configured = composed(paths, "paths.teachers")
    beside = paths.directory.parent.parent / STORE
    return [beside, Path(configured)] if isinstance(configured, str) else [beside]
