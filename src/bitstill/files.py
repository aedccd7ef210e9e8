"""Atomic writing of files (each is either new or unchanged), and file locks."""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitstill.errors import UserError

# The last two are one number on Linux, and two on macOS.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


def at_home(path: str | Path, *, name: str) -> Path:
    """Return a folder with ``~`` expanded.

    Args:
        path: the folder.
        name: the setting that it comes from, for the message.

    Raises:
        UserError: there is no such home, for instance of a user whom a container does not know.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{name}={path} is in a home folder, and there is none: set {name} to a folder that is "
            "written out, or set HOME"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers, or a crash, see either the old or the new content.

    Raises:
        OSError: the file cannot be written; the error always names it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:  # with the usual permissions, unlike tempfile's
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # such as of a full disk
            error.filename = str(path)
        raise


def copy_atomically(source: Path, target: Path) -> None:
    """Copy a file atomically, if it exists."""
    if source.exists():
        write_atomically(target, source.read_bytes())


def remove_partial_files(path: Path) -> None:
    """Remove temporary files of :func:`write_atomically` that killed processes left."""
    for half in path.parent.glob(f".{path.name}.*"):
        half.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, after waiting for it; it ends with its process.

    Raises:
        UserError: the file system has no locks.
        OSError: the file cannot be opened.
    """
    with path.open("ab") as file:  # closing it releases the lock
        with explain_missing_locks(path):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def explain_missing_locks(path: Path) -> Iterator[None]:
    """Turn the error of a file system without locks into one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise UserError(
            f"{path} cannot be locked ({error.strerror}): give a folder on a file system with "
            "locks (flock) that all processes share"
        ) from error
