"""Files that are found whole, or as they were."""

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old one or the new one whole."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:  # with the rights of any new file, unlike tempfile's
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_halves(path: Path) -> None:
    """Remove what processes that were killed have left of :func:`write_atomically`."""
    for half in path.parent.glob(f".{path.name}.*"):
        half.unlink(missing_ok=True)
