"""bitstill: distil a full-precision CNN into one with 2-bit weights and 1-bit features."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from bitstill.engine.engine import Engine

__version__ = "0.1.0"


def load(path: str | Path, *, threads: int = 1, backend: str | None = None) -> Engine:
    """Open a packed student, ready to predict.

    Args:
        path: a packed file, such as a run's ``student.bitstill``.
        threads: how many threads share a batch.
        backend: ``c`` or ``numba``; None takes the fastest that is available.

    Raises:
        UserError: the file or an option cannot be used.
    """
    from bitstill.engine.engine import Engine  # importing bitstill stays light
    from bitstill.engine.packed import read_packed

    return Engine(read_packed(path), threads=threads, backend=backend)
