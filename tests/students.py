"""Random students for the tests of what is deployed: every kind of channel, no training."""

from copy import deepcopy
from dataclasses import asdict, replace
from functools import lru_cache

import torch
from torch import Tensor

from bitstill.integer import IntegerNetwork
from bitstill.models import Student, to_input
from bitstill.quantizers import Quantizer
from bitstill.training.evaluation import precise_batch_norm

# What :func:`random_student` is quantized with, and as a run's configuration has it.
HALF_SCALE = Quantizer(activation_scale=0.5)
QUANTIZER = {"_target_": "bitstill.quantizers.Quantizer", **asdict(HALF_SCALE)}


def random_images(count: int, seed: int = 0) -> Tensor:
    """uint8, (count, 32, 32, 3); black, white and noise are among them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8)
    images[0::5] = 0
    images[1::5] = 255
    return images


def random_student(seed: int = 0, quantizer: Quantizer | None = None, classes: int = 10) -> Student:
    """A student whose channels are alive, with some that are constant, and some zero weights."""
    return deepcopy(_random_student(seed, quantizer or HALF_SCALE, classes))


@lru_cache
def _random_student(seed: int, quantizer: Quantizer, classes: int) -> Student:
    torch.manual_seed(seed)
    student = Student(quantizer=quantizer, classes=classes)
    with precise_batch_norm(student.eval(), random_images(10, seed), batch_size=10) as exact:
        pass
    student.load_state_dict(student.state_dict() | exact)
    with torch.no_grad():
        for block in student.stages():
            assert block.conv.bias is not None
            block.conv.bias.normal_(std=0.05)
            block.gain.normal_()  # type: ignore[operator]
            block.offset.normal_(std=0.3)  # type: ignore[operator]
            block.offset[0], block.offset[1] = 1e6, -1e6  # type: ignore[operator]
            block.conv.weight[2] = block.conv.weight[2].abs() + 0.5
            block.conv.weight[3] = -block.conv.weight[3].abs() - 0.5
            block.conv.weight[4] = 0
        student.classifier.bias.normal_()
    return student


def with_bits(weight_bits: int, activation_bits: int, method: str = "mean_scaled") -> Quantizer:
    """A quantizer that lets some features through."""
    return replace(
        HALF_SCALE,
        method=method,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
    )


@torch.no_grad()
def differing_levels(network: IntegerNetwork, student: Student, images: Tensor) -> float:
    """The share of levels that the float path rounds otherwise, each layer fed with the same ones.

    Fed by its own path, a single one would grow from layer to layer.
    """
    largest = 2**network.activation_bits - 1
    features, wrong, total = to_input(images), 0, 0
    for block, levels in zip(student.eval().stages(), network.levels(images), strict=True):
        steps = (block(features) * largest).round()
        wrong, total = wrong + int((steps != levels).sum()), total + levels.numel()
        features = levels / largest
    return wrong / total
