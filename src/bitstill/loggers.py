"""The loggers beside ``metrics.csv``, which every run writes."""

import os
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from bitstill.runs import directory_name
from bitstill.schema import TrainConfig

# Said before wandb is imported: it prints, asks the network and samples the machine otherwise.
_QUIET_WANDB = {
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_X_DISABLE_STATS": "true",
}


def build_loggers(config: TrainConfig, directory: Path, identity: str) -> list[Logger]:
    """Return the Lightning loggers that a run's configuration names.

    Args:
        config: the run; ``config.logger`` maps a logger's name to its settings.
        directory: of the run.
        identity: of the run; a resumed run keeps its identity, and so its place in wandb.
    """
    build = {"tensorboard": _tensorboard, "wandb": _wandb}
    return [
        build[name](dict(settings), config, directory, identity)
        for name, settings in (config.logger or {}).items()
    ]


def _tensorboard(
    settings: dict[str, Any], config: TrainConfig, directory: Path, identity: str
) -> Logger:
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(directory, name=None, version="tensorboard", default_hp_metric=False)


def _wandb(settings: dict[str, Any], config: TrainConfig, directory: Path, identity: str) -> Logger:
    for name, value in _QUIET_WANDB.items():
        os.environ.setdefault(name, value)
    from pytorch_lightning.loggers import WandbLogger

    return WandbLogger(
        name=directory_name(config, identity),
        save_dir=directory.parent,
        id=identity[:32],
        resume="allow",
        group=config.name,
        job_type=config.loss_name,
        **settings,
    )
