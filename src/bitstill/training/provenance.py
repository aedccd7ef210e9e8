"""The record that a run begins with: what is trained, and with which software and device."""

import functools
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from bitstill import __version__
from bitstill.configuration.shipped import conf_directory
from bitstill.data import ImageData
from bitstill.loss_inputs import own_loss
from bitstill.runs import RunRecord
from bitstill.runs.identity import identity, portable_config, teacher_of
from bitstill.schema import TrainConfig
from bitstill.training.devices import device_name

_COMPUTING_PACKAGES = ("pytorch-lightning", "numpy")


def new_record(config: TrainConfig, data: ImageData) -> RunRecord:
    """Return the record that a run begins with."""
    teacher = identity(teacher_of(config), data.identity) if config.needs_teacher else None
    return RunRecord(
        status="running",
        identity=identity(config, data.identity),
        model=config.kind,
        loss=config.loss_name,
        temperature=None if config.is_teacher else config.temperature.value,
        seed=config.seed,
        epoch=0,
        epochs=config.schedule.epochs,
        config=portable_config(config),
        data_identity=data.identity,
        teacher_identity=teacher,
        classes=list(data.names),
        images={"train": len(data.train), "val": len(data.val), "test": len(data.test)},
        versions={"python": platform.python_version(), "bitstill": __version__}
        | {name: version(name) for name in _COMPUTING_PACKAGES}
        | {"torch": str(torch.__version__)}  # with the build, CPU or CUDA
        | dict([own.package] if (own := own_loss(config.loss_name)) else []),
        git_commit=git_commit(),
        device=device_name(config.trainer),
    )


@functools.cache
def git_commit() -> str | None:
    """Return the commit of the checkout that this code runs from; None for an installed wheel.

    It ends with ``-dirty`` if sources or configuration files differ from the commit.
    """
    root = conf_directory().parent
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    is_clean = _git(root, "status", "--porcelain", "--", "src", "conf") == ""
    return commit if is_clean else f"{commit}-dirty"


def _git(root: Path, *arguments: str) -> str | None:
    """Return git's output; None if it fails or is not installed."""
    # Without locks, since many runs ask at once, and the user may be committing.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
