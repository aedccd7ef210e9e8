"""The names that wandb, TensorBoard and dashboards share.

Accuracies are fractions; every other number has its unit in its name.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from bitstill.report.settings import rules
from bitstill.runs import Row, RunRecord
from bitstill.runs.curves import under
from bitstill.schema import STATISTICS

EPOCH = "epoch"
# For these metrics, wandb's summary keeps the best epoch beside the last one.
BEST = {"train/loss": "min"} | {
    under(name, statistics): "max"
    for name in ("val/accuracy", "test/accuracy")
    for statistics in STATISTICS
}

_OF_IDENTITY = 32  # digits of it in an id


def wandb_id(record: RunRecord, sweep: str) -> str:
    """Return a run's id in wandb, made from its identity, so that a resumed run stays one run.

    Of two sweeps that share a student, each has it in its group; a teacher is trained for both.
    """
    own = record.identity[:_OF_IDENTITY]
    return own if record.is_teacher else f"{own}-{hashlib.sha256(sweep.encode()).hexdigest()[:8]}"


def is_of(run_id: str, identity: str) -> bool:
    """Whether a wandb run has this identity, in any sweep."""
    return run_id.partition("-")[0] == identity[:_OF_IDENTITY]


def summary_name(selection: str, statistics: str) -> str:
    """Return the name of a selected epoch's test accuracy: ``best_val/test_accuracy``."""
    return under(f"{selection}/test_accuracy", statistics)


def picture_name(figure: str) -> str:
    """Return the name of a figure of one run."""
    return f"pictures/{figure}"


def science(record: RunRecord) -> dict[str, Any]:
    """Return the settings that tell the runs of a sweep apart, flat.

    Tables, groups and filters of a dashboard take keys at the top; nested ones are ambiguous there.
    """
    config = record.config
    quantizer = {} if record.is_teacher else config["quantizer"]
    loss = {} if record.is_teacher else config["loss"]
    followed = rules(record)
    return {
        "model": record.model,
        "loss_name": "teacher" if record.is_teacher else record.loss,
        "temperature": record.temperature,
        "seed": record.seed,
        "cell": record.cell,
        "soft_weight": followed.get("soft_weight", [None])[-1],  # a number: one run shows no rule
        "teacher_seed": config["teacher"]["seed"] if "teacher.seed" in followed else None,
        "quantizer": quantizer.get("method"),
        "weight_bits": quantizer.get("weight_bits"),
        "activation_bits": quantizer.get("activation_bits"),
        "activation_scale": quantizer.get("activation_scale"),
        "epochs": record.epochs,
        "batch_size": config["schedule"]["batch_size"],
        "learning_rate": config["schedule"]["learning_rates"][0],
        "data": config["data"]["source"],
        "val_fraction": config["data"]["val_fraction"],
        "device": record.device,
    } | {f"loss_{name}": value for name, value in loss.items() if not name.startswith("_")}


def provenance(record: RunRecord) -> dict[str, Any]:
    """Return identities, versions, git commit and the whole configuration, nested; no folders."""
    return {
        "identity": record.identity,
        "data_identity": record.data_identity,
        "teacher_identity": record.teacher_identity,
        "git_commit": record.git_commit,
        "versions": record.versions,
        "config": record.config,
    }


def results(record: RunRecord) -> dict[str, float]:
    """Return the results of a finished run: accuracies of the selected epochs, and its time."""
    return accuracies(record.selections) | {
        "time/total_seconds": record.seconds,
        "time/images_per_second": record.images_per_second,
    }


def accuracies(selections: Mapping[str, Mapping[str, Row | None]]) -> dict[str, float]:
    """Return the test accuracies and numbers of the epochs that are selected so far."""
    found: dict[str, float] = {}
    for statistics, by_name in selections.items():
        for selection, row in by_name.items():
            if row is not None:
                found[summary_name(selection, statistics)] = row["test/accuracy"]
                found[under(f"{selection}/{EPOCH}", statistics)] = row["epoch"]
    return found
