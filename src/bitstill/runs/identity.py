"""A run's identity: a hash of everything that decides its result, and nothing else."""

import dataclasses
import hashlib
import json
from typing import Any

from bitstill.loss_inputs import own_loss
from bitstill.schema import ModelConfig, TrainConfig

# Raise the version of a model when the same configuration gives another result than before.
TEACHER_VERSION = 4
STUDENT_VERSION = 5

TEACHER = "teacher"  # the cell of all teachers


def teacher_of(config: TrainConfig) -> TrainConfig:
    """Return the configuration of the run that trains a student's teacher."""
    return dataclasses.replace(
        config,
        model=ModelConfig(_target_="bitstill.models.Teacher"),
        seed=config.teacher.seed,
        schedule=config.teacher.schedule,
    )


def identity(config: TrainConfig, data_identity: str) -> str:
    """Hash everything that decides a run's result, and nothing else.

    Paths, loggers and threads are left out, and settings that the run's model or loss does not
    read: a teacher has no temperature, and ``hard`` no teacher.

    Args:
        config: the run's configuration.
        data_identity: the checksum of its images, labels and splits.

    Returns:
        SHA-256, 64 hexadecimal digits.
    """
    quantizer = config.quantizer
    if quantizer.weight_bits is None:  # no method is called, so any counts as the published one
        quantizer = dataclasses.replace(quantizer, method="mean_scaled")
    parts: dict[str, Any] = {
        "result_version": TEACHER_VERSION if config.is_teacher else STUDENT_VERSION,
        "data": data_identity,
        "model": config.model,
        "batch_norm": config.batch_norm,
        "schedule": config.schedule,
        "seed": config.seed,
        "evaluation": config.evaluation,
        "accelerator": config.trainer.accelerator,
        "precision": config.trainer.precision,
    }
    if not config.is_teacher:
        parts |= {
            "quantizer": quantizer,
            "loss": config.loss,
            "temperature": config.temperature,
        }
    if (own := own_loss(config.loss_name)) is not None:
        parts["loss_source"] = own.source
    if config.needs_soft_weight:
        parts["soft_weight"] = config.soft_weight
    if config.needs_teacher:
        parts["teacher"] = identity(teacher_of(config), data_identity)
    text = json.dumps(parts, sort_keys=True, default=dataclasses.asdict)
    return hashlib.sha256(text.encode()).hexdigest()


def temperature_name(temperature: float | None) -> str:
    """Return a name for T that no other T has: 15, 0.1, 1000001.0; empty for a teacher."""
    if temperature is None:
        return ""
    short = f"{temperature:g}"
    return short if float(short) == temperature else repr(float(temperature))


def cell_name(loss: str, temperature: float | None) -> str:
    """Return the name of a table entry, which several seeds fill.

    Args:
        loss: the student's loss.
        temperature: the student's T; None for a teacher, which has neither.
    """
    return TEACHER if temperature is None else f"{loss} T={temperature_name(temperature)}"


def cell_of(config: TrainConfig) -> str:
    """Return the name of the table entry that a run fills."""
    temperature = None if config.is_teacher else config.temperature.value
    return cell_name(config.loss_name, temperature)


def directory_name(config: TrainConfig, run_identity: str) -> str:
    """Return the name of a run's folder: a readable part, then the start of the identity."""
    # Six digits of T: temperatures that are alike in them have different identities.
    label = TEACHER if config.is_teacher else f"{config.loss_name}-T{config.temperature.value:g}"
    return f"{label}-seed{config.seed}-{run_identity[:10]}"


def portable_config(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration as plain values, without folders and addresses."""
    plain = dataclasses.asdict(config)
    for key in ("paths", "logger", "sweep"):
        del plain[key]
    if (own := own_loss(config.loss_name)) is not None:  # to read a record without its package
        plain["loss"]["_reads"] = sorted(own.reads)
    private = ("path", "cache", "url")
    plain["data"] = {"source": type(config.data).__name__.lower()} | {
        key: value for key, value in plain["data"].items() if key not in private
    }
    return plain
