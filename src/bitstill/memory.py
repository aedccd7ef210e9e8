"""Freed memory stays with the process."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell the C library's malloc not to give freed memory back to the system.

    A training step frees what the next one allocates, in pieces of megabytes. glibc returns such
    pieces at once, and the kernel clears them, page by page, when they are asked for again. Results
    are the same, and a process stays as large as its largest step. Where there is no ``mallopt``,
    nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return
    mallopt(_MMAP_MAX, 0)  # large pieces come from the heap too
    mallopt(_TRIM_THRESHOLD, _NEVER)
