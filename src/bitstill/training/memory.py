"""Memory that the process keeps: freed memory, a reserve for failures, and imported modules."""

import atexit
import ctypes
import gc
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's malloc.h
_NEVER = 2**31 - 1
_NOT_GLIBC = (AttributeError, OSError, TypeError)  # raised with another C library or system
_RESERVE = 2**24  # bytes; composing a run takes about 2 MiB
_reserved: list[mmap.mmap] = []


def keep_freed_memory() -> None:
    """Tell the C library's malloc not to give freed memory back to the system.

    A training step frees what the next one allocates, in blocks of megabytes. glibc returns such
    blocks to the system at once, and the kernel clears them, page by page, when they are allocated
    again. Results stay the same, and a process stays as large as its largest step. Without
    ``mallopt``, this does nothing to malloc. It also reserves addresses for use after a failure.
    """
    _hold_back()
    with suppress(*_NOT_GLIBC):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)  # large blocks come from the heap, too
        mallopt(_TRIM_THRESHOLD, _NEVER)


def give_back_freed_memory() -> None:
    """Return to the system the memory that :func:`keep_freed_memory` has kept.

    Otherwise a run that needed too much memory would leave the process none for the next run: the
    heap shrinks only to its last small block in use, and Python takes its memory from elsewhere.
    """
    while _reserved:
        _reserved.pop().close()
    gc.collect()  # network and trainer are in reference cycles
    with suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).malloc_trim(0)


def _hold_back() -> None:
    """Reserve addresses, which costs no memory, if at least as many more are available."""
    if _reserved:
        return
    with suppress(OSError):
        mmap.mmap(-1, 2 * _RESERVE, mmap.MAP_PRIVATE).close()
        _reserved.append(mmap.mmap(-1, _RESERVE, mmap.MAP_PRIVATE))


@contextmanager
def imported_to_stay() -> Iterator[None]:
    """Import without garbage collection, and exempt what was imported from later collections.

    Torch and Lightning make some hundred thousand permanent objects; examining them again and again
    takes a seventh of a run's start.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if "triton" in sys.modules:  # at exit it lists its own uncollected objects
            atexit.register(gc.unfreeze)
        if collects:
            gc.enable()
