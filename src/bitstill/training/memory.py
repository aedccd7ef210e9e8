"""Memory that the process keeps: freed memory, a reserve until a run fails, imported modules."""

import atexit
import ctypes
import gc
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's malloc.h
_NEVER = 2**31 - 1
_NOT_GLIBC = (AttributeError, OSError, TypeError)  # raised with other C libraries
_RESERVE = 2**24  # bytes; composing a run takes about 2 MiB
_reserved: list[mmap.mmap] = []


def keep_freed_memory() -> None:
    """Tell the C library's malloc not to give freed memory back to the system.

    A training step frees what the next one allocates, in pieces of megabytes. glibc returns such
    pieces at once, and the kernel clears them, page by page, when they are asked for again. Results
    are the same, and a process stays as large as its largest step. Where there is no ``mallopt``,
    it is told nothing. Addresses that nobody uses are held back for the time after a failure.
    """
    _hold_back()
    with suppress(*_NOT_GLIBC):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)  # large blocks come from the heap, too
        mallopt(_TRIM_THRESHOLD, _NEVER)


def give_back_freed_memory() -> None:
    """Return the memory to the system that :func:`keep_freed_memory` has kept.

    A run that has asked for too much would leave the process no room for the next one: the heap
    shrinks only to the last small piece that is in use, and Python takes its memory from elsewhere.
    """
    while _reserved:
        _reserved.pop().close()
    gc.collect()  # network and trainer are in reference cycles
    with suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).malloc_trim(0)


def _hold_back() -> None:
    """Hold a reserve of addresses, which costs no memory, where as many others are left."""
    if _reserved:
        return
    with suppress(OSError):
        mmap.mmap(-1, 2 * _RESERVE, mmap.MAP_PRIVATE).close()
        _reserved.append(mmap.mmap(-1, _RESERVE, mmap.MAP_PRIVATE))


@contextmanager
def imported_to_stay() -> Iterator[None]:
    """Import without garbage collection, and exclude what was imported from later collections.

    Torch and Lightning make some hundred thousand objects that stay; to look through them again and
    again is a seventh of a run's start.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if "triton" in sys.modules:  # at exit, it reports objects that were not collected
            atexit.register(gc.unfreeze)
        if collects:
            gc.enable()
