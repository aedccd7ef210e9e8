"""A run is worked on by one process at a time; the others wait, or look on."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from bitstill.errors import UserError
from bitstill.files import remove_halves
from bitstill.runs import RunPaths

log = logging.getLogger(__name__)


_LOOK_AGAIN = 1.0  # seconds: many may wait for one teacher, for hours, on a network's disk


@contextmanager
def exclusive(paths: RunPaths) -> Iterator[None]:
    """Work on a run alone, after whichever process works on it now.

    Raises:
        UserError: the file system has no locks.
    """
    paths.directory.mkdir(parents=True, exist_ok=True)
    # Not the soft lock that filelock would take instead: who is killed leaves that for ever.
    lock = FileLock(paths.lock, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another process, which works on %s", paths.directory)
        lock.acquire(poll_interval=_LOOK_AGAIN)
    except (OSError, NotImplementedError) as error:
        raise _without_locks(paths, error) from error
    try:
        for path in paths.written:
            remove_halves(path)
        yield
    finally:
        lock.release()


def is_worked_on(paths: RunPaths) -> bool:
    """Whether a process holds a run; a record that says ``running`` may outlive its process.

    Raises:
        UserError: the file system has no locks.
    """
    try:
        with paths.lock.open("rb") as file:  # as an onlooker, who may not be allowed to write
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise _without_locks(paths, error) from error
    return False


def _without_locks(paths: RunPaths, error: Exception) -> UserError:
    return UserError(
        f"{paths.lock} cannot be locked ({error}): give paths.output on a file system with locks "
        "(flock) that all nodes share"
    )
