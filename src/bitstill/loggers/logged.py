"""Which loggers have a finished run; the same command logs it to the others."""

import contextlib
import json
from collections.abc import Iterable

from bitstill.files import write_atomically
from bitstill.reading import fits
from bitstill.runs import RunPaths
from bitstill.schema import LoggerConfig, TensorboardConfig, WandbConfig

Destination = TensorboardConfig | WandbConfig


def destinations(settings: LoggerConfig) -> dict[str, Destination]:
    """Return where a run is to be logged, with a name for each."""
    found: dict[str, Destination] = {}
    if settings.tensorboard is not None:
        found["tensorboard"] = settings.tensorboard
    if (wandb := settings.to_wandb) is not None:
        project = "/".join(filter(None, (wandb.entity, wandb.project)))
        found[f"wandb {project}"] = wandb
    return found


def not_logged(settings: LoggerConfig, paths: RunPaths) -> dict[str, Destination]:
    """Return the destinations that do not have a finished run completely."""
    wanted = destinations(settings)
    had = _read(paths) if wanted else []
    return {name: one for name, one in wanted.items() if name not in had}


def mark_logged(paths: RunPaths, names: Iterable[str]) -> None:
    """Note in a finished run's folder which destinations have it, besides earlier ones."""
    all_names = sorted({*_read(paths), *names})
    if all_names:
        write_atomically(paths.logged, json.dumps(all_names).encode())


def hand_on(source: RunPaths, target: RunPaths) -> None:
    """Copy a teacher's list of destinations from the store, or to it.

    Not TensorBoard, whose files stay where they are. A store that is read-only stays as it is.
    """
    names = [name for name in _read(source) if name.startswith("wandb ")]
    if target.record.exists():
        with contextlib.suppress(OSError):
            mark_logged(target, names)


def _read(paths: RunPaths) -> list[str]:
    """Read the names; none from a damaged file, since logging twice does no harm."""
    try:
        names = json.loads(paths.logged.read_bytes())
    except (OSError, ValueError):
        return []
    return names if fits(names, list[str]) else []
