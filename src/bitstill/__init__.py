"""bitstill: distil a full-precision CNN into one with 2-bit weights and 1-bit features."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from bitstill.engine.engine import Engine

__version__ = "0.1.0"


def load(path: str | Path, *, threads: int = 1, backend: str | None = None) -> Engine:
    """Open a packed student, ready to predict; see :func:`bitstill.engine.engine.load`."""
    from bitstill.engine.engine import load as load_engine  # importing bitstill stays light

    return load_engine(path, threads=threads, backend=backend)
