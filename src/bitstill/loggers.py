"""The loggers beside ``metrics.csv``, which every run writes."""

import os
from pathlib import Path

from pytorch_lightning.loggers import Logger

from bitstill.identity import directory_name, portable
from bitstill.schema import TrainConfig, WandbConfig

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
        config: the run.
        directory: of the run.
        identity: of the run; a resumed run keeps its identity, and so its place in wandb.
    """
    loggers: list[Logger] = []
    if config.logger.tensorboard is not None:
        loggers.append(_tensorboard(directory))
    if config.logger.wandb is not None:
        loggers.append(_wandb(config.logger.wandb, config, directory, identity))
    return loggers


def close_loggers(loggers: list[Logger], *, failed: bool) -> None:
    """End each logger's run: without this, the next run of the process would go on in wandb's."""
    for logger in loggers:
        if "wandb" in type(logger).__module__:
            logger.experiment.finish(exit_code=int(failed))  # type: ignore[attr-defined]  # has one


def _tensorboard(directory: Path) -> Logger:
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(directory, name=None, version="tensorboard", default_hp_metric=False)


def _wandb(settings: WandbConfig, config: TrainConfig, directory: Path, identity: str) -> Logger:
    for name, value in _QUIET_WANDB.items():
        os.environ.setdefault(name, value)
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    # Begun here and not by Lightning, which would give wandb an argument that it warns of.
    run = wandb.init(
        mode=settings.mode,  # type: ignore[arg-type]  # one of its words, as the schema has checked
        project=settings.project,
        entity=settings.entity,
        tags=settings.tags,
        dir=directory.parent,
        id=identity[:32],
        resume="allow",
        name=directory_name(config, identity),
        group=config.name,
        job_type="teacher" if config.is_teacher else config.loss_name,
        # Flat beside nested: wandb's tables and charts group by keys at the top alone.
        config={
            "model": "teacher" if config.is_teacher else "student",
            "loss_name": config.loss_name,
            "temperature": None if config.is_teacher else config.temperature.value,
            "seed": config.seed,
            "config": portable(config),
        },
    )
    return WandbLogger(experiment=run)
