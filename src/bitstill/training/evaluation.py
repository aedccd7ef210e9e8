"""Accuracy, image by image, under running or exact batch norm statistics.

A student is evaluated in its deployed form, with integers. A network without an integer form (a
teacher, full precision) is evaluated in float32, whatever precision it was trained in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from bitstill.data import ImageData
from bitstill.data.splits import evenly
from bitstill.engine.engine import Engine, has_tables
from bitstill.integer import has_integer_form, integer_network
from bitstill.models import Block, Network, StudentBlock, to_input
from bitstill.packing import pack
from bitstill.runs.curves import under
from bitstill.schema import EvaluationConfig

# Returns logits, (N, classes), for images, uint8, (N, 32, 32, 3).
Classifier = Callable[[Tensor], Tensor]


def float_classifier(network: Network) -> Classifier:
    """Return a classifier that runs a network in evaluation mode, in float32 as in training."""
    return lambda images: network(to_input(images))


def deployed_classifier(network: Network) -> Classifier:
    """Return the deployed form of a network, with its current batch norm statistics.

    On a CPU, a student with 1-bit features and weights of 1 or 2 bits runs in the engine, which
    computes the same bits as the integer network in torch, in a sixth of its time.
    """
    if not has_integer_form(network):
        return float_classifier(network)
    integers = integer_network(network)
    if integers.weight.is_cuda or not has_tables(
        integers.weight_bits, activation_bits=integers.activation_bits
    ):
        return integers
    engine = Engine(pack(integers), threads=torch.get_num_threads())
    return lambda images: torch.from_numpy(engine.logits(images.numpy()))


@torch.no_grad()
def logits_of(classifier: Classifier, images: Tensor, *, batch_size: int) -> Tensor:
    """Return the logits of many images, (N, classes).

    Args:
        classifier: computes the logits.
        images: uint8, (N, 32, 32, 3).
        batch_size: images at a time.
    """
    return torch.cat([classifier(part) for part in images.split(batch_size)])


def predictions(classifier: Classifier, images: Tensor, *, batch_size: int) -> Tensor:
    """Return the predicted class of each image, (N,); arguments as for :func:`logits_of`."""
    return logits_of(classifier, images, batch_size=batch_size).argmax(dim=1)


def disagreement(network: Network, images: Tensor, *, batch_size: int) -> int:
    """Count the images that a network's float path classifies differently from its deployed form.

    Args:
        network: in any mode, which is restored.
        images: uint8, (N, 32, 32, 3).
        batch_size: images at a time.
    """
    with _evaluation_mode(network):
        paths = deployed_classifier(network), float_classifier(network)
        integers, floats = (predictions(path, images, batch_size=batch_size) for path in paths)
    return int((integers != floats).sum())


@contextmanager
def _evaluation_mode(network: Network) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


@contextmanager
def precise_batch_norm(
    network: Network, images: Tensor, *, batch_size: int
) -> Iterator[dict[str, Tensor]]:
    """Evaluate with exact batch norm statistics, layer by layer, over some training images.

    This is PreciseBN (Wu & Johnson 2021, arXiv 2105.07576, section 3). A 1-bit feature flips when
    its threshold moves a little, and running statistics always lag behind the weights: with exact
    ones, the same weights score higher and more steadily. A layer's statistics depend on the output
    of the layers below it, so each layer is finished before the next one begins. The running
    statistics are restored at the end.

    Args:
        network: in evaluation mode.
        images: uint8, (N, 32, 32, 3); the statistics are over all N.
        batch_size: images that are convolved in float32 at a time, to limit memory; the C path
            takes all at once, with 64 KiB for each.

    Yields:
        The exact statistics, by the name of their buffer in the network's state_dict.
    """
    with borrowed_statistics(network, {}) as buffers:
        with torch.no_grad():
            features = to_input(images)
            for block in network.stages():
                features = _calibrate(block, features, batch_size=batch_size)
        yield {name: buffer.clone() for name, buffer in buffers.items()}


def _calibrate(block: Block, features: Tensor, *, batch_size: int) -> Tensor:
    """Give a block its exact statistics over all of its input, and return its output."""
    made = block.calibrate(features) if isinstance(block, StudentBlock) else None
    if made is not None:
        return made
    convolved = [block.convolve(part) for part in features.split(batch_size)]
    for buffer, exact in zip(block.statistics, _moments(convolved), strict=True):
        buffer.copy_(exact)
    return torch.cat([block.activate(part) for part in convolved])


@contextmanager
def borrowed_statistics(
    network: Network, statistics: Mapping[str, Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Give a network other batch norm statistics for a while; its own are restored at the end.

    Args:
        network: its buffers are overwritten.
        statistics: by the name of their buffer; buffers that are not named keep their values.

    Yields:
        The network's buffers of statistics, by name.
    """
    buffers = {name: buffer for name, buffer in network.named_buffers() if "norm.running_" in name}
    own = {name: buffer.clone() for name, buffer in buffers.items()}
    try:
        for name, value in statistics.items():
            buffers[name].copy_(value)
        yield buffers
    finally:
        for name, value in own.items():
            buffers[name].copy_(value)


def _moments(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return each channel's mean and population variance over parts (N, C, H, W).

    Each part's moments are computed in two passes over its rows, which is ten times as fast as
    ``torch.var_mean`` over three dimensions, and combined in float64.
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
    """The result of one evaluation.

    Attributes:
        correct: a bool vector for each split and kind of statistics, by the name of its accuracy.
        exact: exact batch norm statistics, by the name of their buffer; empty if not asked for.
    """

    correct: dict[str, Tensor]
    exact: dict[str, Tensor]


def evaluate(network: Network, data: ImageData, how: EvaluationConfig) -> Evaluation:
    """Return for every validation and test image whether it is classified correctly.

    Args:
        network: in any mode, which is restored; it is evaluated in evaluation mode.
        data: exact statistics are computed over some of its training images, spread evenly; a split
            without images is left out.
        how: kinds of statistics, number of calibration images, and images at a time.
    """
    found = Evaluation({}, {})

    def measure(kind: str) -> None:
        classifier = deployed_classifier(network)
        for name, split in (("val", data.val), ("test", data.test)):
            if len(split):
                predicted = predictions(classifier, split.images, batch_size=how.batch_size)
                found.correct[under(f"{name}/accuracy", kind)] = predicted == split.labels

    with _evaluation_mode(network):
        if "running" in how.statistics:
            measure("running")
        if "precise" in how.statistics:
            chosen = data.train.images[evenly(len(data.train), how.calibration_images)]
            with precise_batch_norm(network, chosen, batch_size=how.batch_size) as exact:
                found.exact.update(exact)
                measure("precise")
    return found
