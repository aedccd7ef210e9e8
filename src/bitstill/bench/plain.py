"""Finds the baseline, ``benchmarks/plain.py``, which only a checkout has."""

import runpy
from pathlib import Path
from types import SimpleNamespace

from bitstill.configuration.shipped import conf_directory
from bitstill.errors import UserError

YARDSTICK = "benchmarks/plain.py"
PACKAGES = ("bitstill", "torch", "pytorch-lightning")


def plain_path() -> Path:
    """Return the file of the baseline.

    Raises:
        UserError: bitstill does not run from a checkout.
    """
    path = conf_directory().parent / YARDSTICK
    if not path.exists():
        raise UserError(
            f"bitstill bench train and bench sweep compare with {YARDSTICK}, which an installed "
            "bitstill does not have: run them in a checkout"
        )
    return path


def load_plain() -> SimpleNamespace:
    """Import the baseline; raises as :func:`plain_path` does."""
    return SimpleNamespace(**runpy.run_path(str(plain_path())))
