"""The settings that tell runs apart, and the rules that some numeric settings may follow."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from bitstill.errors import printable
from bitstill.loss_inputs import LOSS_INPUTS
from bitstill.runs import RunRecord

# Settings that may differ within a set; the sweep's name does not affect its runs.
_INSIDE = ("model", "loss", "temperature", "soft_weight", "seed", "name", "teacher", "trainer")


def settings(record: RunRecord) -> dict[str, str]:
    """Return what a run shares with its set, as texts by name: ``{"quantizer.weight_bits": "2"}``.

    These are all settings that decide its result, except loss, temperature, seeds,
    :func:`teacher_settings` and :func:`rules`.
    """
    config = record.config
    unread = ("quantizer",) if record.is_teacher else ()
    shared = {key: value for key, value in config.items() if key not in (*_INSIDE, *unread)}
    # How the images are obtained does not change them.
    shared["data"] = {
        key: value for key, value in config["data"].items() if key not in ("download", "checksum")
    }
    shared |= {"model": record.model, "trainer": arithmetic(record)}
    shared["data_identity"] = record.data_identity[:10]
    return dict(_leaves(shared))


def teacher_settings(record: RunRecord) -> dict[str, str]:
    """Return the schedule of a student's teacher as texts; empty for a loss without a teacher."""
    if record.teacher_identity is None:
        return {}
    return dict(_leaves({"teacher": {"schedule": record.config["teacher"]["schedule"]}}))


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield printable(f"{prefix}{key}"), "null" if value is None else printable(str(value))


def arithmetic(record: RunRecord) -> dict[str, object]:
    """Return where and how a run computed; the number of threads does not tell runs apart."""
    return {key: value for key, value in record.config["trainer"].items() if key != "threads"}


def rules(record: RunRecord) -> dict[str, list[str]]:
    """Return the rules that a run's c and its teacher's seed may follow, likeliest first.

    A single run leaves it open: c = 225 at T = 15 is T^2, or 225 at every T; teacher 0 of seed 0 is
    each seed's own, or one for all seeds. A loss without c, or without a teacher, has no such rule.
    The settings of a user's own loss are rules that other losses do not have.
    """
    if record.is_teacher:
        return {}
    own = {key: value for key, value in record.config["loss"].items() if key[0] != "_"}
    found = {key: [value] for key, value in _leaves({record.loss: own})}
    if record.teacher_identity is not None:
        theirs: int = record.config["teacher"]["seed"]
        offset = theirs - record.seed
        found["teacher.seed"] = (
            [str(theirs), f"seed{offset:+d}"] if offset else ["seed", str(theirs)]
        )
    reads = record.config["loss"].get("_reads", LOSS_INPUTS.get(record.loss, ()))
    if record.temperature is not None and "soft_weight" in reads:
        found["soft_weight"] = _weight_rules(record.config["soft_weight"], record.temperature)
    return found


def _weight_rules(weight: Mapping[str, Any], temperature: float) -> list[str]:
    """Return rules that c may follow from T: "constant, value T^2", "constant, value 225"."""
    name = weight["_target_"].rpartition(".")[2].removesuffix("_weight")
    options = [
        [f"{key} T^2"] * (weight[key] == temperature**2) + [f"{key} {weight[key]:.15g}"]
        for key in sorted(weight)
        if not key.startswith("_")
    ]
    return [", ".join([name, *numbers]) for numbers in itertools.product(*options)]
