"""The check of a configuration; ``guard`` checks Hydra's own part.

Hydra composes plain YAML; :func:`check` turns the result into :mod:`bitstill.schema`, or refuses it
in one line.
"""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
)

from bitstill.configuration.shipped import choices
from bitstill.data import ImageSource
from bitstill.errors import UserError, first_line, nearest
from bitstill.loss_inputs import own_loss, own_targets
from bitstill.schema import TARGETS, LoggerConfig, Range, TrainConfig, own_loss_config

# CPython's messages when memory runs out; the second one when it could not even raise MemoryError.
_NO_MEMORY = (
    "MemoryError raised",
    "SystemError raised while resolving interpolation: error return without exception set",
)

# With these variables oneDNN, which computes torch's convolutions, rounds float32 to a shorter type
# where that is faster. It reads them when torch is imported.
_ARITHMETIC = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")


def settings(schema: type = TrainConfig, prefix: str = "") -> list[str]:
    """Return the full names of all settings, for hints."""
    names = []
    for key, annotation in get_type_hints(schema).items():
        name = prefix + key
        nodes = set(TARGETS.get(name, {"": annotation}).values())
        names.append(name)
        for part in (part for node in nodes for part in (node, *get_args(node))):  # X | None
            if isinstance(part, type) and is_dataclass(part):
                names += settings(part, f"{name}.")
    return [name for name in dict.fromkeys(names) if "._" not in name]


def check(composed: DictConfig) -> TrainConfig:
    """Turn what Hydra composed into a typed configuration.

    Args:
        composed: the job's configuration, with or without the ``hydra`` node.

    Raises:
        UserError: a key is unknown or missing, or a value has a wrong type or is out of range.
    """
    config = _built(TrainConfig, _resolved(composed), "")
    assert isinstance(config, TrainConfig)  # noqa: S101  # the type passed to _built
    _check_together(config)
    _check_environment(config)
    return config


def image_source(settings: Mapping[str, Any]) -> ImageSource:
    """Return a source of images from plain values, checked.

    Raises:
        UserError: as :func:`check`.
    """
    source = _node("data", settings, ImageSource)
    assert isinstance(source, ImageSource)  # noqa: S101  # the type passed to _node
    return source


def _check_environment(config: TrainConfig) -> None:
    """Refuse environment variables that would override settings in libraries."""
    if config.logger.to_wandb is not None and "WANDB_SWEEP_ID" in os.environ:
        raise UserError(
            "WANDB_SWEEP_ID is set in the environment, as by wandb agent, and wandb would take all "
            "runs for one: unset it, and sweep with bitstill train -m"
        )
    if foreign := sorted(name for name in os.environ if name.startswith("PL_TRAINER_")):
        raise UserError(
            f"{foreign[0]} is set in the environment, and Lightning would train otherwise than is "
            "asked for: unset it"
        )
    for name in _ARITHMETIC:
        if (os.environ.get(name) or "STRICT").upper() != "STRICT":
            raise UserError(
                f"{name} is set in the environment, and float32 would be computed in less: unset "
                "it (trainer.precision=bf16 asks for bf16)"
            )


def _resolved(composed: DictConfig) -> dict[str, Any]:
    try:
        node = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        OmegaConf.copy_cache(composed, node)  # so that ${now:} keeps its value
        plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise _not_set(str(error.full_key or str(error).rpartition(" ")[2])) from error
    except InterpolationResolutionError as error:
        first = first_line(error)
        if first.startswith(_NO_MEMORY):
            raise MemoryError(first) from error  # the setting is not to blame
        key = first.split("'")[1] if isinstance(error, InterpolationKeyError) else ""
        if key in settings():  # another setting refers to it
            raise _not_set(key) from error
        if "is not a container" in first:
            group = first.split("`")[1]
            raise _no_settings(group, composed.get(group)) from error
        circular = "ecursi" in first or "refers to itself" in first
        unset = "${hydra:...} is known to a run alone" if "HydraConfig was not" in first else first
        reason = "it refers to itself" if circular else unset
        raise UserError(f"{error.full_key}: {reason}: give {error.full_key}=VALUE") from error
    assert isinstance(plain, dict)  # noqa: S101  # a DictConfig becomes one
    return {str(key): value for key, value in plain.items()}


def _not_set(key: str) -> UserError:
    return UserError(f"{key} is not set: give {key}=VALUE on the command line")


def _built(schema: type, plain: Mapping[str, Any], prefix: str) -> object:
    """Build a dataclass from plain values, checking each; nested ones, too."""
    hints = get_type_hints(schema, include_extras=True)
    for key in plain:
        if key == "experiment" and not prefix:
            raise UserError(
                "experiment is not a setting: give the experiment's file '# @package _global_' as "
                "first line"
            )
        if key not in hints:
            known = [name for name in hints if not name.startswith("_")]
            where = prefix.rstrip(".") or "a run"
            raise UserError(
                f"{prefix}{key} is not a setting: {where} has {', '.join(known) or 'none'}"
                + nearest(key, [*known, *get_type_hints(TrainConfig)])
            )
    optional = {one.name for one in fields(schema) if one.default is not MISSING}
    for name in hints:
        if name not in plain and name not in optional:
            raise UserError(f"{prefix}{name} is not set: give {prefix}{name}=VALUE")
    values = {
        name: _value(prefix + name, plain[name], hint)
        for name, hint in hints.items()
        if name in plain
    }
    return schema(**values)


_TOO_LARGE = 2**1023  # near the largest float
_OR_NULL = ", or null"
_LONGEST_PROJECT, _LONGEST_TAG = 128, 64  # characters: wandb's limits
_OF_ONES_OWN = " (one of your own: CONTRIBUTING.md, Adding a choice)"
_LONGEST_NAME = 200  # bytes; file systems allow 255, and folder names add some to it
_NOUNS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
}


def _value(name: str, value: Any, annotation: Any, *, or_null: str = "") -> Any:
    """Return a value of the annotated type; an integer is accepted as a float."""
    if get_origin(annotation) is Annotated:
        return _allowed(name, value, *get_args(annotation))
    if get_origin(annotation) is Literal:
        return _word(name, _value(name, value, str), get_args(annotation))
    if isinstance(annotation, UnionType):  # a type or None
        kind = get_args(annotation)[0]
        return None if value is None else _value(name, value, kind, or_null=_OR_NULL)
    if is_dataclass(annotation):
        return _node(name, value, annotation)
    return _plain(name, value, annotation, or_null=or_null)


def check_printable(name: str, text: str) -> None:
    """Refuse a text with control characters such as newlines or null bytes.

    Raises:
        UserError: it has such a character.
    """
    if not text.isprintable():
        raise UserError(f"{name} = {text!r} is not allowed: give a text of printable characters")


def _plain(name: str, value: Any, annotation: Any, *, or_null: str) -> Any:
    kind = get_origin(annotation) or annotation
    if kind is float and type(value) is int:
        return float(value) if abs(value) < _TOO_LARGE else math.inf
    if type(value) is not kind:
        null = " (null is not allowed)" if value is None else or_null
        raise UserError(f"{name} = {value!r} is not allowed: give {_NOUNS[kind]}{null}")
    if kind is str:
        check_printable(name, value)
    if kind is list:
        [one] = get_args(annotation)
        return [_value(f"{name}[{index}]", item, one) for index, item in enumerate(value)]
    return value


def _node(name: str, value: Any, annotation: Any) -> object:
    if not isinstance(value, Mapping):
        raise _no_settings(name, value)
    if name not in TARGETS:
        return _built(annotation, value, f"{name}.")
    schema = _schema(name, value)
    if "_target_" not in get_type_hints(schema):  # the schema is itself the target
        value = {key: item for key, item in value.items() if key != "_target_"}
    return _built(schema, value, f"{name}.")


def _no_settings(name: str, value: object) -> UserError:
    """Return the error for a value in place of a group, such as ``loss: soft`` in a file."""
    line = f"{name} = {value} is not allowed: give its settings, {name}.KEY=VALUE"
    if name in choices():
        line += f", or in a file a choice, under defaults: '- override /{name}: {value}'"
    return UserError(line)


def _word(name: str, value: str, words: Sequence[str]) -> str:
    if value not in words:
        hint = nearest(value, words)
        hint += _OF_ONES_OWN if name == "quantizer.method" else ""
        raise UserError(f"{name} = {value} is not allowed: give one of {', '.join(words)}{hint}")
    return value


def _allowed(name: str, value: Any, annotation: Any, allowed: Range) -> Any:
    converted = _value(name, value, annotation)
    if not allowed.allows(converted):
        null = _OR_NULL if isinstance(annotation, UnionType) else ""
        raise UserError(f"{name} = {value} is not allowed: give {allowed}{null}")
    return converted


def _schema(name: str, value: Mapping[str, Any]) -> type:
    """Return the dataclass for a node, by its ``_target_``."""
    target = str(value.get("_target_"))
    if target in TARGETS[name]:
        return TARGETS[name][target]
    own = own_loss(target.rpartition(".")[2]) if name == "loss" else None
    if own is not None and own.target == target:
        return own_loss_config(own)
    known = [*TARGETS[name], *(own_targets() if name == "loss" else ())]
    raise UserError(
        f"{name}._target_ = {target} is not allowed: choose one of {', '.join(known)}"
        f"{nearest(target, known)}{_OF_ONES_OWN}"
    )


def _check_together(config: TrainConfig) -> None:
    """Check settings that depend on each other."""
    for name, schedule in (
        ("schedule", config.schedule),
        ("teacher.schedule", config.teacher.schedule),
    ):
        rates, milestones = len(schedule.learning_rates), schedule.milestones
        if rates != len(milestones) + 1 or milestones != sorted(set(milestones)):
            raise UserError(
                f"{name}.milestones = {milestones} does not fit {rates} learning rates: give one "
                "rising fraction of the epochs between each two rates"
            )
    _check_folders(config)
    _check_wandb(config.logger)
    for key, node in (("loss", config.loss), ("soft_weight", config.soft_weight)):
        if not node._partial_:
            raise UserError(f"{key}._partial_ = False is not allowed: leave it true")


def _check_folders(config: TrainConfig) -> None:
    """Refuse names and folders that would mean another place, or none."""
    for key, folder in dataclasses.asdict(config.paths).items():
        if not folder or (folder.startswith("~") and key != "cache"):
            raise UserError(
                f"paths.{key} = {folder!r} is not allowed: give a folder, written out or with "
                "${oc.env:HOME} in front"
            )
    name = config.name
    if not name or "/" in name or name.startswith(".") or len(name.encode()) > _LONGEST_NAME:
        raise UserError(
            f"name = {name!r} is not allowed: give the plain name of a folder, of at most "
            f"{_LONGEST_NAME} bytes"
        )
    if config.folder.absolute() == Path(config.paths.teachers).absolute():
        raise UserError(
            f"name = {name!r} is not allowed: the folder is that of paths.teachers, give another"
        )


def _check_wandb(logger: LoggerConfig) -> None:
    """Refuse what wandb would refuse, before anything runs."""
    if logger.wandb is None:
        return
    project = logger.wandb.project
    if not project or len(project) > _LONGEST_PROJECT or set(project) & set("/\\#?%:"):
        raise UserError(
            f"logger.wandb.project = {project!r} is not allowed: give at most {_LONGEST_PROJECT} "
            "characters without any of / \\ # ? % : (the entity is logger.wandb.entity)"
        )
    if "/" in (logger.wandb.entity or ""):
        raise UserError(
            f"logger.wandb.entity = {logger.wandb.entity!r} is not allowed: give a user or a team"
        )
    for tag in logger.wandb.tags:
        if not 1 <= len(tag) <= _LONGEST_TAG:
            raise UserError(
                f"logger.wandb.tags = {tag!r} is not allowed: give tags of 1 to {_LONGEST_TAG} "
                "characters"
            )


def check_batches(config: TrainConfig) -> None:
    """Refuse batches larger than the number of images.

    Raises:
        UserError: a batch, of the run or of its teacher, is too large; or the data cannot be used.
    """
    images = config.data.training_images()
    schedules = {"schedule": config.schedule}
    if config.needs_teacher:
        schedules["teacher.schedule"] = config.teacher.schedule
    for name, schedule in schedules.items():
        if schedule.batch_size > images:
            raise UserError(
                f"{name}.batch_size = {schedule.batch_size} is more than the {images} training "
                f"images: give at most {images}"
            )
