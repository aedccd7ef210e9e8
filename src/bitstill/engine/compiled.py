"""Compiles functions with numba, and caches the result."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call, without the GIL; the result is kept for other processes.

    Numba looks for it by the function's name, and knows of changes of the function's own file
    alone: not of what is compiled into it from another. So the name says which code it is.
    """
    function.__qualname__ += f"_{_version()}"
    return njit(nogil=True, cache=True)(function)


@cache
def _version() -> str:
    """Return a digest of everything that may be compiled into a function."""
    folder = Path(__file__).parent
    sources = [*sorted(folder.glob("*.py")), folder.parent / "topology.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:10]
