"""Lightning, without what it says of other things than the training."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence what Lightning says of hardware that is not there and of other products.

    To be entered after Lightning's import, which sets the levels of its loggers.
    """
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Lightning's own use of torch, and its advice: on data loaders, of which there are none,
        # and on Slurm's srun, wherever that is installed.
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", ".*does not have many workers")
        warnings.filterwarnings("ignore", ".*`srun` command is available")
        yield
