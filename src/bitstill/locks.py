"""A run is worked on by one process at a time; the others wait, or look on."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from bitstill.files import remove_halves
from bitstill.runs import RunPaths

log = logging.getLogger(__name__)


@contextmanager
def exclusive(paths: RunPaths) -> Iterator[None]:
    """Work on a run alone, after whichever process works on it now."""
    paths.directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another process, which works on %s", paths.directory)
        lock.acquire()
    try:
        for path in paths.written:
            remove_halves(path)
        yield
    finally:
        lock.release()


def is_worked_on(paths: RunPaths) -> bool:
    """Whether a process holds a run; a record that says ``running`` may outlive its process."""
    try:
        with paths.lock.open("rb") as file:  # as an onlooker, who may not be allowed to write
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
