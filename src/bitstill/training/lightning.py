"""Lightning, imported without modules that nothing here needs, and with fewer messages."""

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

    It looks there for ``hamming``, which old SciPy lacked a name for; no metric is used here. That
    import takes a fifth of a run's start, and can still be had afterwards.
    """
    if "scipy.signal" in sys.modules:
        yield
        return
    empty = ModuleType("scipy.signal")
    empty.hamming = None  # type: ignore[attr-defined]  # torchmetrics imports it
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
    for name in ("pytorch_lightning", "lightning_fabric"):  # importing them sets their levels
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Lightning's use of deprecated torch, and its advice: on data loaders, which we do not use,
        # on settings that are deliberate, and on srun wherever Slurm is installed.
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", ".*does not have many workers")
        warnings.filterwarnings("ignore", "GPU available but not used")
        warnings.filterwarnings("ignore", ".*`srun` command is available")
        yield
