"""Logits of trained networks on real images, computed from a run's files.

Records alone do not hold them. Where a run's images or weights are not available, the answer is
None, and the report says what it could not draw. Nothing is ever downloaded. torch is imported
inside functions, since reports on records alone do not need it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitstill import load
from bitstill.data.splits import ImageData, evenly
from bitstill.errors import UserError
from bitstill.reading import reading
from bitstill.report.sweeps import Run, stored_teacher
from bitstill.runs.composed import composed

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Some images of a split, spread evenly over it.

    Attributes:
        images: uint8, (N, 32, 32, 3).
        labels: (N,).
        indices: positions of the images in their split, (N,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]


def images_of(runs: Iterable[Run]) -> ImageData | None:
    """Return the images of the first run whose images can be loaded; kept runs do not say where."""
    return next((found for run in runs if (found := _at_hand(run)) is not None), None)


def _at_hand(run: Run) -> ImageData | None:
    """Return a run's images if they are available and unchanged; nothing is downloaded."""
    from bitstill.configuration.check import image_source

    settings = composed(run.paths, "data")
    if not isinstance(settings, dict):
        return None
    offline = {"download": False} if "download" in settings else {}
    try:
        data = image_source(settings | offline).load()
    except (UserError, OSError):  # not available, or of a source unknown here
        return None
    return data if data.identity == run.record.data_identity else None


def sampled(images: ImageData | None, split: str, count: int) -> Sample | None:
    """Return up to ``count`` images of a split, or None if they are not available."""
    if images is None:
        return None
    part = getattr(images, split)
    indices = evenly(len(part.labels), count)
    return Sample(part.images.numpy()[indices], part.labels.numpy()[indices], indices)


def teacher_logits(run: Run) -> NDArray[np.float32] | None:
    """Return the logits of a run's teacher over the training images, (N, classes), if kept."""
    from safetensors.numpy import load_file

    stored = stored_teacher(run)
    if stored is None:
        return None
    with reading(stored.teacher_logits, "remove its folder"):
        return load_file(stored.teacher_logits)["logits"]


def logits(run: Run, images: NDArray[np.uint8]) -> Floats | None:
    """Return a trained network's logits, (N, classes); None without its weights.

    They are those after the last epoch, with exact batch norm statistics where these were measured.
    A student with a packed file computes in integers, as it does when deployed.
    """
    if run.paths.packed.exists():
        return load(run.paths.packed).logits(images).astype(np.float64)

    import torch

    from bitstill.deploy.finished import load_run
    from bitstill.training.evaluation import float_classifier, logits_of

    if not run.paths.weights.exists():
        return None
    classifier = float_classifier(load_run(run.paths.directory).network)
    found = logits_of(classifier, torch.from_numpy(images), batch_size=128)
    return np.asarray(found.double().numpy())


def softmax(values: Floats, temperature: float) -> Floats:
    """Return s(values / T) along the last axis."""
    from scipy import special

    return np.asarray(special.softmax(values / temperature, axis=-1))
