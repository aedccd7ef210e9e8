"""What loggers show of a finished run besides its curves, read from its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from bitstill.data import ImageData
from bitstill.deploy.finished import load_run
from bitstill.loggers.names import picture_name
from bitstill.report.figures.confusion import MOST_CLASSES, confusion_figure
from bitstill.report.figures.figure import Figure, to_image
from bitstill.report.figures.weights import weight_figures
from bitstill.report.sweeps import Run, RunSet
from bitstill.runs import RunPaths, RunRecord
from bitstill.training.evaluation import deployed_classifier, predictions


@dataclass(frozen=True)
class Outcome:
    """Pictures, sizes, and the files worth keeping.

    Attributes:
        pictures: the confusion matrix, and a student's weights and their levels, by name.
        sizes: bytes, by name.
        files: the record, and the packed student.
    """

    pictures: Mapping[str, Image]
    sizes: Mapping[str, int]
    files: Sequence[Path]


def outcome_of(paths: RunPaths, record: RunRecord, data: ImageData) -> Outcome:
    """Collect the outcome of a finished run.

    Args:
        paths: of the run.
        record: of the run.
        data: that it was tested on.
    """
    run = Run(paths, record)
    figures = []
    if paths.weights.exists():  # `bitstill keep` copies no weights
        figures = weight_figures(RunSet(record.cell, [run]))
        if data.classes <= MOST_CLASSES:
            figures = [_confusion(run, data), *figures]
    return Outcome(
        pictures={picture_name(one.name): to_image(one) for one in figures},
        sizes={f"size/{name}_bytes": count for name, count in record.sizes.items()},
        files=[path for path in (paths.record, paths.packed) if path.exists()],
    )


def _confusion(run: Run, data: ImageData) -> Figure:
    """Classify the test images with the last weights, and exact statistics if there are any."""
    network = load_run(run.paths.directory).network.to(data.test.images.device)
    batch = int(run.record.config["evaluation"]["batch_size"])
    predicted = predictions(deployed_classifier(network), data.test.images, batch_size=batch)
    who = f"{run.record.cell}, seed {run.record.seed}, after the last epoch"
    return confusion_figure(data.test.labels.cpu().numpy(), predicted.cpu().numpy(), who)
