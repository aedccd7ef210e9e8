"""Lets one process at a time work on a run; others wait or only look."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from bitstill.files import explain_missing_locks, locked, remove_partial_files
from bitstill.runs.paths import RunPaths

log = logging.getLogger(__name__)


@contextmanager
def exclusive(paths: RunPaths) -> Iterator[None]:
    """Lock a run, after waiting for any process that works on it.

    Raises:
        UserError: the file system has no locks.
    """
    paths.directory.mkdir(parents=True, exist_ok=True)
    if is_worked_on(paths):
        log.info("waiting for another process that works on %s", paths.directory)
    with locked(paths.lock):
        for path in paths.written:
            remove_partial_files(path)
        yield


def is_worked_on(paths: RunPaths) -> bool:
    """Whether a process holds a run; a ``running`` record may outlive its process.

    Raises:
        UserError: the file system has no locks.
    """
    try:
        # Opened to read only, since an onlooker may not be allowed to write.
        with paths.lock.open("rb") as file, explain_missing_locks(paths.lock):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
