"""Compiles functions with numba, and caches the result."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call, to run without the GIL; cache it for other processes.

    Numba finds the cached code by the function's name and notices changes only in the function's
    own file, not in other files whose code is compiled into it. So the name includes a digest of
    them all.
    """
    function.__qualname__ += f"_{_version()}"
    return njit(nogil=True, cache=True)(function)


@cache
def _version() -> str:
    """Return a digest of everything that may be compiled into a function."""
    folder = Path(__file__).parent
    sources = [*sorted(folder.glob("*.py")), folder.parent / "topology.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:10]
