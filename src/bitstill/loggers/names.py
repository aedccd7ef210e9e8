"""What both loggers call things: the same names in wandb, in TensorBoard and in dashboards.

Accuracies are fractions; every other number has its unit in its name.
"""

from typing import Any

from bitstill.curves import under
from bitstill.runs import RunRecord
from bitstill.schema import STATISTICS

EPOCH = "epoch"
# Of a metric over the epochs, wandb's summary keeps the best as well as the last.
BEST = {
    under(name, statistics): best
    for name, best in {"val/accuracy": "max", "test/accuracy": "max", "train/loss": "min"}.items()
    for statistics in STATISTICS
}


def wandb_id(identity: str) -> str:
    """Return a run's id in wandb: its identity, so that a resumed run is one run."""
    return identity[:32]


def summary_name(selection: str, statistics: str) -> str:
    """Return the name of a selected epoch's test accuracy: ``best_val/test_accuracy``."""
    return under(f"{selection}/test_accuracy", statistics)


def picture_name(figure: str) -> str:
    """Return the name of a figure of one run."""
    return f"pictures/{figure}"


def science(record: RunRecord) -> dict[str, Any]:
    """Return what tells the runs of a sweep apart, flat.

    Tables, groups and filters of a dashboard take keys at the top; nested ones are ambiguous there.
    """
    is_student = record.model == "student"
    quantizer = record.config.get("quantizer", {}) if is_student else {}
    loss = record.config.get("loss", {}) if is_student else {}
    return {
        "model": record.model,
        "loss_name": record.loss,
        "temperature": record.temperature,
        "seed": record.seed,
        "cell": record.cell,
        "quantizer": quantizer.get("method"),
        "weight_bits": quantizer.get("weight_bits"),
        "activation_bits": quantizer.get("activation_bits"),
        "epochs": record.epochs,
        "batch_size": record.config["schedule"]["batch_size"],
    } | {f"loss_{name}": value for name, value in loss.items() if not name.startswith("_")}


def provenance(record: RunRecord) -> dict[str, Any]:
    """Return the whole configuration, nested, and what else a result is owed to; no folders."""
    return {
        "identity": record.identity,
        "data_identity": record.data_identity,
        "teacher_identity": record.teacher_identity,
        "git_commit": record.git_commit,
        "versions": record.versions,
        "config": record.config,
    }


def results(record: RunRecord) -> dict[str, float]:
    """Return what a finished run came to: accuracies of the selected epochs, and its time."""
    found: dict[str, float] = {}
    for statistics, selections in record.selections.items():
        for selection, row in selections.items():
            if row is not None:
                found[summary_name(selection, statistics)] = row["test/accuracy"]
                found[under(f"{selection}/{EPOCH}", statistics)] = row["epoch"]
    return found | {
        "time/total_seconds": record.seconds,
        "time/images_per_second": record.images_per_second,
    }
