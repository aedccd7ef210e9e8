"""Accuracy, image by image, under running or exact batch norm statistics; always in float32."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bitstill.data import Split
from bitstill.models import Network, to_input


def metric_name(split: str, statistics: str) -> str:
    """Return the name of an accuracy: the published statistics' is the plain one."""
    return f"{split}/accuracy" + ("" if statistics == "running" else f"_{statistics}")


@torch.no_grad()
def predictions(network: nn.Module, images: Tensor, *, batch_size: int) -> Tensor:
    """Return the predicted class of each image.

    Args:
        network: in evaluation mode.
        images: uint8, (N, 32, 32, 3).
        batch_size: images at a time; the result does not depend on it.
    """
    parts = [network(to_input(part)).argmax(dim=1) for part in images.split(batch_size)]
    return torch.cat(parts)


def _spread(total: int, count: int) -> Tensor:
    """Return up to ``count`` indices spread evenly over ``total``: data may be sorted by class."""
    count = min(count, total)
    return torch.arange(count) * total // count


@contextmanager
def precise_batch_norm(
    network: Network, images: Tensor, *, batch_size: int
) -> Iterator[dict[str, Tensor]]:
    """Evaluate with exact batch norm statistics, layer by layer, over some training images.

    PreciseBN (Wu & Johnson 2021, arXiv 2105.07576, section 3). A 1-bit feature flips when its
    threshold moves a little, and running statistics always lag behind the weights: with exact ones
    the same weights score higher, and steadily. A layer's statistics depend on what the layers
    below it let through, so each layer is finished before the next one begins. The running
    statistics come back at the end.

    Args:
        network: in evaluation mode.
        images: uint8, (N, 32, 32, 3); all N take part.
        batch_size: images at a time, for the memory's sake.

    Yields:
        The exact statistics, by the name of their buffer in the network's state_dict.
    """
    buffers = {name: buffer for name, buffer in network.named_buffers() if "norm.running_" in name}
    saved = {name: buffer.clone() for name, buffer in buffers.items()}
    try:
        with torch.no_grad():
            features = [to_input(part) for part in images.split(batch_size)]
            for block in network.stages():
                convolved = [block.convolve(part) for part in features]
                for buffer, exact in zip(block.statistics, _moments(convolved), strict=True):
                    buffer.copy_(exact)
                features = [block.activate(part) for part in convolved]
        yield {name: buffer.clone() for name, buffer in buffers.items()}
    finally:
        for name, running in saved.items():
            buffers[name].copy_(running)


def _moments(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return each channel's mean and population variance over parts (N, C, H, W).

    Each part's moments are taken in two passes over its rows, ten times as fast as
    ``torch.var_mean`` over three dimensions, and put together in float64.
    """
    rows = [part.permute(0, 2, 3, 1).flatten(end_dim=2) for part in parts]
    means = [row.mean(dim=0) for row in rows]
    squares = [(row - mean).square_().mean(dim=0) for row, mean in zip(rows, means, strict=True)]
    sizes = torch.tensor([len(row) for row in rows], dtype=torch.float64, device=rows[0].device)
    share = (sizes / sizes.sum())[:, None]
    centres = torch.stack(means).double()
    mean = (share * centres).sum(dim=0)
    variance = (share * (torch.stack(squares) + (centres - mean).square())).sum(dim=0)
    return mean, variance


class Evaluation(NamedTuple):
    """What one evaluation found.

    Attributes:
        correct: a bool vector for each split and kind of statistics, under :func:`metric_name`.
        exact: exact batch norm statistics, by the name of their buffer; empty if not asked for.
    """

    correct: dict[str, Tensor]
    exact: dict[str, Tensor]


def evaluate(
    network: Network,
    splits: Mapping[str, Split],
    *,
    statistics: Sequence[str],
    calibration: Tensor,
    calibration_images: int,
    batch_size: int,
) -> Evaluation:
    """Say of every image of every split whether it is classified correctly.

    Args:
        network: any mode; it is evaluated in evaluation mode, and left as it was.
        splits: what to evaluate on, by name; empty ones are left out.
        statistics: ``running``, ``precise`` or both.
        calibration: images that exact statistics may be taken over, uint8, (N, 32, 32, 3).
        calibration_images: how many of them, spread evenly.
        batch_size: images at a time.
    """
    training = network.training
    network.eval()
    found = Evaluation({}, {})

    def measure(kind: str) -> None:
        for name, split in splits.items():
            if len(split):
                predicted = predictions(network, split.images, batch_size=batch_size)
                found.correct[metric_name(name, kind)] = predicted == split.labels

    try:
        if "running" in statistics:
            measure("running")
        if "precise" in statistics:
            chosen = calibration[_spread(len(calibration), calibration_images)]
            with precise_batch_norm(network, chosen, batch_size=batch_size) as exact:
                found.exact.update(exact)
                measure("precise")
    finally:
        network.train(training)
    return found
