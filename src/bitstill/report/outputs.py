"""What trained networks say of real images: logits, computed from a run's files.

Records alone do not hold them. Where a run's images or weights are not at hand, there is no answer
and a reason. Nothing is ever downloaded. torch is imported inside, for reports of records alone.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bitstill.errors import UserError
from bitstill.reading import reading
from bitstill.report.sweeps import TEACHER, Run

if TYPE_CHECKING:
    from bitstill.data import ImageData
    from bitstill.models import Network

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Some images of a split, spread evenly over it.

    Attributes:
        images: uint8, (N, 32, 32, 3).
        labels: (N,).
        indices: of the images in their split, (N,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]


class Images:
    """The images that runs were trained and tested on, as far as they are at hand."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @functools.cached_property
    def _data(self) -> ImageData | None:
        """The images, if those at hand are the run's."""
        source = _source(self._run)
        try:
            data = None if source is None else source.load()
        except (UserError, OSError):
            return None
        return (
            data if data is not None and data.identity == self._run.record.data_identity else None
        )

    def sample(self, split: str, count: int) -> Sample | None:
        """Return up to ``count`` images of a split, or None where they are not at hand."""
        if self._data is None:
            return None
        part = getattr(self._data, split)
        total = len(part.labels)
        indices = np.arange(min(count, total)) * total // min(count, total)
        return Sample(part.images.numpy()[indices], part.labels.numpy()[indices], indices)


def _source(run: Run) -> Any:
    """Return the run's image source, with the folders of Hydra's copy of its configuration."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from bitstill.schema import TARGETS

    if not run.paths.composed.exists():
        return None
    try:
        with reading(run.paths.composed, "move it away"):
            composed = OmegaConf.load(run.paths.composed)
        node: Any = OmegaConf.to_container(composed.data, resolve=True)
        settings = dict(node)
        source = TARGETS["data"][settings.pop("_target_")]
        return source(**settings | ({"download": False} if "download" in settings else {}))
    except (OmegaConfBaseException, AttributeError, KeyError, TypeError, ValueError):
        return None


def teacher_logits(run: Run) -> NDArray[np.float32] | None:
    """Return a run's teacher's logits over the training images, (N, classes), if it left them."""
    from safetensors.numpy import load_file

    identity = run.record.teacher_identity
    if run.record.model == TEACHER:
        identity = run.record.identity
    if identity is None:
        return None
    for root in (*_stores(run), run.paths.directory.parent.parent / "teachers"):
        path = type(run.paths)(root / identity).teacher_logits
        if path.exists():
            with reading(path, "remove its folder"):
                return load_file(path)["logits"]
    return None


def _stores(run: Run) -> list[Path]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not run.paths.composed.exists():
        return []
    try:
        with reading(run.paths.composed, "move it away"):
            composed = OmegaConf.load(run.paths.composed)
        return [Path(str(composed.paths.teachers))]
    except (OmegaConfBaseException, AttributeError):
        return []


def logits(run: Run, images: NDArray[np.uint8]) -> Floats | None:
    """Return a trained network's logits, (N, classes); None without its weights.

    With exact batch norm statistics where they were kept, else with running ones.
    """
    import torch

    from bitstill.models import to_input
    from bitstill.weights import load_weights

    if not run.paths.weights.exists():
        return None
    with reading(run.paths.weights, "train the run again"):
        network = _network(run)
        try:
            load_weights(network, run.paths.weights, statistics="precise")
        except KeyError:
            load_weights(network, run.paths.weights)
    network.eval()
    with torch.no_grad():
        parts = [network(to_input(part)) for part in torch.from_numpy(images).split(128)]
    return torch.cat(parts).double().numpy()


def _network(run: Run) -> Network:
    from bitstill.models import Student, Teacher
    from bitstill.quantizers import Quantizer
    from bitstill.report.sizes import shapes

    config = run.record.config
    settings = {
        "classes": shapes(run)["classifier.bias"][0],
        "batch_norm_momentum": config["batch_norm"]["momentum"],
        "batch_norm_epsilon": config["batch_norm"]["epsilon"],
    }
    if run.record.model == TEACHER:
        return Teacher(**settings)
    quantizer = {key: value for key, value in config["quantizer"].items() if key != "_target_"}
    return Student(quantizer=Quantizer(**quantizer), **settings)


def softmax(values: Floats, temperature: float) -> Floats:
    """Return s(values / T) along the last axis."""
    scaled = values / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
