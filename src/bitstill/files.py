"""Files that are found whole, or as they were."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old one or the new one whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        make_public(Path(temporary))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def make_public(path: Path) -> None:
    """Give a file the rights of any new one: temporary files are private."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def remove_halves(path: Path) -> None:
    """Remove what processes that were killed have left of :func:`write_atomically`."""
    for half in path.parent.glob(f".{path.name}.*"):
        half.unlink(missing_ok=True)
