"""Lightning, imported without modules that bitstill does not need, and with fewer messages."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from bitstill.training.dynamo import dynamo_on_demand


@contextmanager
def _without_scipy_signal() -> Iterator[None]:
    """Keep torchmetrics, which Lightning imports, from importing scipy.signal.

    Torchmetrics imports it to restore the name ``hamming``, which new versions of SciPy lack; no
    metric is used here. The import takes a fifth of a run's start, and still works afterwards.
    """
    if "scipy.signal" in sys.modules:
        yield
        return
    empty = ModuleType("scipy.signal")
    empty.hamming = None  # type: ignore[attr-defined]  # the name that torchmetrics looks for
    sys.modules["scipy.signal"] = empty
    try:
        yield
    finally:
        del sys.modules["scipy.signal"]


with dynamo_on_demand(), _without_scipy_signal():
    import pytorch_lightning as pl
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

__all__ = ["LightningEnvironment", "pl", "quiet_lightning"]


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's messages about absent hardware and about other products."""
    for name in ("pytorch_lightning", "lightning_fabric"):  # importing them set their levels
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Lightning's own use of torch, and its advice: about data loaders, which are not used here,
        # about its own settings, and about Slurm's srun if that is installed.
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", ".*does not have many workers")
        warnings.filterwarnings("ignore", "GPU available but not used")
        warnings.filterwarnings("ignore", ".*`srun` command is available")
        yield
