"""Splits the work of a call among threads."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise


def parts(count: int, threads: int) -> list[tuple[int, int]]:
    """Return the begin and end of equal parts of ``count`` items, one per thread.

    >>> parts(7, 3)
    [(0, 2), (2, 4), (4, 7)]
    """
    return list(pairwise(count * part // threads for part in range(threads + 1)))


def pool(threads: int) -> ThreadPoolExecutor:
    """Return this process's pool of that many threads; a forked process gets its own.

    After a fork, the parent's pool may be locked for ever, so the child does not touch it.
    """
    return _pool(threads, os.getpid())


@lru_cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="bitstill")
