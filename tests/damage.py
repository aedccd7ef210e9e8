"""Ways to damage a file."""

import os
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]


def written(content: bytes) -> Damage:
    """Other content."""

    def damage(path: Path) -> None:
        path.write_bytes(content)

    return damage


def cut(path: Path) -> None:
    """Half of it is left."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def a_link(target: str) -> Damage:
    def damage(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return damage


def a_circle(path: Path) -> None:
    a_link(path.name)(path)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def nothing(path: Path) -> None:
    """It is left as it is."""
