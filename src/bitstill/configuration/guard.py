"""An allowlist for the code that Hydra's own settings may name.

Hydra instantiates every ``_target_`` below ``hydra`` (launcher, sweeper, callbacks) and hands its
logging to :func:`logging.config.dictConfig`, which calls what ``()`` and ``class`` name: before
anything of bitstill runs. So a configuration is looked at as soon as it is composed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal import hydra as startup
from hydra.conf import HydraConf
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bitstill.configuration.repository import CachingLoader
from bitstill.configuration.shipped import choices
from bitstill.errors import UserError

_SLURM = "hydra_plugins.bitstill_slurm.SlurmLauncher"
_SWEEPER = "hydra_plugins.bitstill_sweeper.GridSweeper"
_FOLDER_CHECK = "bitstill.application.FolderCheck"
_LAUNCHED_BY = (
    _SLURM,
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
)
# The allowed values of each key that names code or a file. Of ``ext://``, logging may name only
# the two streams.
ALLOWED: dict[str, tuple[str, ...]] = {
    "_target_": (
        _SWEEPER,
        _FOLDER_CHECK,
        *_LAUNCHED_BY,
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",  # used by --hydra-help only
    ),
    "class": (
        "logging.StreamHandler",
        "logging.FileHandler",
        "bitstill.portable.PortableFormatter",
    ),
    "()": ("colorlog.ColoredFormatter",),  # for hydra/job_logging=colorlog
    ".": (),  # logging would set any attribute, such as the file of a handler
    "filename": (  # a log format could write any line into another file
        "${hydra.runtime.output_dir}/train.log",
        "${hydra.runtime.output_dir}/${hydra.job.name}.log",
    ),
}
_LAUNCHERS = "give hydra/launcher=basic, parallel or slurm"
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
# Folders as conf/train.yaml sets them: a sweep looks for its runs where it planned them.
_FOLLOW: dict[tuple[str, str], object] = {
    ("sweep", "dir"): "${paths.output}/${name}",
    ("sweep", "subdir"): "${run_directory:}",
    ("job", "chdir"): False,
}
_SETTINGS = {*HydraConf.__dataclass_fields__, "env"}  # env is the empty group hydra/env
_EXECUTED = ("launcher", "sweeper", "callbacks", "job_logging", "hydra_logging")


def check_hydra(hydra: DictConfig) -> None:
    """Refuse settings that would call or import anything not in :data:`ALLOWED`.

    Raises:
        UserError: a setting names other code, sets the environment of what is started, or is none.
    """
    for key in hydra:
        if key not in _SETTINGS:
            raise UserError(f"hydra.{key!s} is not a setting: see bitstill train --cfg hydra")
    plain: Any = OmegaConf.to_container(hydra, resolve=False)
    for name in _EXECUTED:
        _check(hydra, plain, name, "hydra")
    _check_job(hydra)
    verbose = hydra.verbose
    names = verbose if isinstance(verbose, ListConfig) else [""]
    if not isinstance(verbose, bool | str | ListConfig) or {type(one) for one in names} - {str}:
        raise UserError(f"hydra.verbose = {verbose} is not allowed: give true or false")


def _check_job(hydra: DictConfig) -> None:
    """Refuse settings that would change the started program, or write files elsewhere."""
    if hydra.job.env_set:
        raise UserError(
            "hydra.job.env_set is not allowed: set environment variables where you start bitstill"
        )
    if hydra.output_subdir not in (".hydra", None):
        raise UserError(
            f"hydra.output_subdir = {hydra.output_subdir} is not allowed: leave it out, or give "
            "null"
        )
    if "/" in hydra.job.name:
        raise UserError(f"hydra.job.name = {hydra.job.name} is not allowed: give a word")


def _check_launcher(hydra: DictConfig) -> None:
    """Refuse Slurm if a file has chosen it, since the launcher's settings go into a script.

    And what is no launcher, and joblib by Hydra's own name: here it is called ``parallel``.
    """
    if hydra.runtime.choices.get("hydra/launcher") == "joblib":
        raise UserError(f"hydra/launcher=joblib is not allowed: {_LAUNCHERS}")
    given = None if hydra.launcher is None else hydra.launcher._target_
    if given not in (None, *_LAUNCHED_BY):
        raise UserError(f"hydra.launcher._target_ = {given} is not allowed: {_LAUNCHERS}")
    if given == _SLURM and not any(
        one.startswith("hydra/launcher=") for one in hydra.overrides.hydra
    ):
        raise UserError(
            "hydra/launcher=slurm hands its settings to a shell: give it on the command line, and "
            "not in a file"
        )


def _check_folders(hydra: DictConfig) -> None:
    """Refuse folders in which a sweep would not look for its runs."""
    plain: Any = OmegaConf.to_container(hydra, resolve=False)
    for group, key in _FOLLOW:
        if plain[group][key] != _FOLLOW[group, key]:
            raise UserError(
                f"hydra.{group}.{key} = {plain[group][key]} is not allowed: the folders of a sweep "
                "follow from paths.output and name, and are relative to where you start bitstill"
            )


def _check_callbacks(hydra: DictConfig, config_name: str) -> None:
    """Refuse callbacks and configurations that are not based on conf/train.yaml."""
    plain: Any = OmegaConf.to_container(hydra, resolve=False)
    given = plain["callbacks"]
    if not given and config_name != "train":
        raise UserError(
            f"--config-name {config_name} is not allowed: it is not built on conf/train.yaml; let "
            "it begin with `defaults: [train, _self_]`, or give what differs on the command line "
            "(.hydra/overrides.yaml has that of a run)"
        )
    if given != {"folder": {"_target_": _FOLDER_CHECK}}:
        raise UserError(
            f"hydra.callbacks = {given} is not allowed: leave it out, a run has loggers"
        )


def _check_sweeper(hydra: DictConfig) -> None:
    """Refuse Hydra's own sweeper, which has no grids and resumes nothing."""
    given = None if hydra.sweeper is None else hydra.sweeper._target_
    if given != _SWEEPER:
        raise UserError(
            f"hydra.sweeper._target_ = {given} is not allowed: leave hydra/sweeper out, the one "
            "that is there plans sweeps and goes on with them"
        )


def _check_choices(hydra: DictConfig) -> None:
    """Refuse several choices of a group that takes one: Hydra would take the last."""
    groups = choices().keys() - {"logger"}
    given: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    for override in given:
        group, _, choice = override.partition("=")
        if choice.startswith("[") and group in groups:
            each = choice.strip("[]").replace(" ", "")
            other = f", or to run each, -m {group}={each}" if group != "experiment" else ""
            raise UserError(f"{override} is not allowed: give one{other}")


def _check(node: Any, plain: Any, key: Any, prefix: str) -> None:
    """Check a value as written, and what it refers to; ``plain`` is the node's plain value."""
    name, value = f"{prefix}.{key}", plain[key]
    if key in ALLOWED:
        if value not in ALLOWED[key]:
            advice = _LAUNCHERS if prefix == "hydra.launcher" else _one_of(ALLOWED[key])
            raise UserError(f"{name} = {value} is not allowed: {advice}")
        return
    if OmegaConf.is_interpolation(node, key):
        value = _resolved(node, key)
        if isinstance(value, DictConfig | ListConfig | dict | list):
            raise UserError(f"{name} is not allowed to refer to other settings: write them there")
    if isinstance(value, str) and value.startswith(("ext://", "cfg://")) and value not in _STREAMS:
        raise UserError(f"{name} = {value} is not allowed: give {' or '.join(_STREAMS)}")
    if isinstance(value, dict | list):
        for inner in value if isinstance(value, dict) else range(len(value)):
            _check(node[key], value, inner, name)


def _one_of(known: tuple[str, ...]) -> str:
    return f"choose one of {', '.join(known)}" if known else "leave it out"


def _resolved(parent: Any, key: Any) -> Any:
    try:
        return parent[key]
    except OmegaConfBaseException:  # refused later, where it is used
        return None


class GuardedLoader(CachingLoader):
    """Hydra's loader, refusing what :func:`check_hydra` refuses.

    Hydra hands its loader to the processes of a sweep, which compose their runs themselves: the
    check goes with it, since an environment variable may be another there.
    """

    def load_configuration(
        self, config_name: str | None, *arguments: Any, **options: Any
    ) -> DictConfig:
        """Compose as Hydra does, and check."""
        config = super().load_configuration(config_name, *arguments, **options)
        check_hydra(config.hydra)
        if config_name is not None:  # --hydra-help composes Hydra's own settings only
            _check_callbacks(config.hydra, config_name)
            _check_sweeper(config.hydra)
            _check_launcher(config.hydra)
            _check_folders(config.hydra)
            _check_choices(config.hydra)
        return config


@contextmanager
def guarded() -> Iterator[None]:
    """Let Hydra start with a :class:`GuardedLoader`."""
    original = startup.ConfigLoaderImpl  # type: ignore[attr-defined]  # Hydra has no public hook
    startup.ConfigLoaderImpl = GuardedLoader  # type: ignore[attr-defined]
    try:
        yield
    finally:
        startup.ConfigLoaderImpl = original  # type: ignore[attr-defined]
