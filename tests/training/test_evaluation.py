"""Exact batch norm statistics against NumPy, and accuracy against argmax by hand."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import pytest
import torch
from tests import reference
from tests.reference import Array, numpy
from tests.students import random_student, with_bits
from torch import Tensor

import bitstill.training.evaluation
from bitstill.data import ImageData, Split
from bitstill.engine.training import training_available
from bitstill.integer import integer_network
from bitstill.models import Network, Student, StudentBlock, Teacher, to_input
from bitstill.quantizers import Quantizer
from bitstill.schema import EvaluationConfig
from bitstill.training.evaluation import (
    deployed_classifier,
    evaluate,
    float_classifier,
    precise_batch_norm,
    predictions,
)

pytestmark = pytest.mark.usefixtures("one_thread")

Model = type[Teacher] | type[Student]
MODELS: list[Model] = [Teacher, Student]


def some_images(count: int, seed: int = 0) -> Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return torch.from_numpy(pixels)


def some_split(count: int, seed: int = 1) -> Split:
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 10, count))
    return Split(some_images(count, seed), labels)


def network_of(model: Model, seed: int = 0) -> Network:
    """A network whose parameters and running statistics are all of their own."""
    torch.manual_seed(seed)
    network = model()
    for block in network.stages():
        mean, variance = block.statistics
        mean.uniform_(-0.3, 0.3)
        variance.uniform_(0.2, 1)
        with torch.no_grad():
            assert block.conv.bias is not None
            block.conv.bias.uniform_(-0.3, 0.3)
            if isinstance(block, StudentBlock):
                block.gain.uniform_(-2, 2)
                block.offset.uniform_(3, 6)  # some half of the bits
            else:
                block.norm.weight.uniform_(0.5, 1.5)
                block.norm.bias.uniform_(-0.5, 0.5)
    return network.eval()


def statistics_of(network: Network) -> list[Array]:
    return [numpy(one) for block in network.stages() for one in block.statistics]


def np_layer(network: Network, index: int, features: Array) -> tuple[Array, Array, Array]:
    """One layer: exact mean and variance over everything, and what it lets through with them."""
    block = network.stages()[index]
    weight = numpy(block.conv.weight)
    if isinstance(block, StudentBlock):
        weight = reference.two_bits(weight)
    assert block.conv.bias is not None
    convolved = reference.convolve(features, weight, numpy(block.conv.bias))
    mean, variance = reference.moments(convolved)
    n = reference.normalize(convolved, mean, variance)
    if isinstance(block, StudentBlock):
        gain, offset = numpy(block.gain)[:, None, None], numpy(block.offset)[:, None, None]
        passed = (0.1 * ((np.abs(gain) + 1) * n + offset) >= 0.5).astype(float)
    else:
        scale, shift = numpy(block.norm.weight), numpy(block.norm.bias)
        passed = np.maximum(scale[:, None, None] * n + shift[:, None, None], 0)
    return mean, variance, reference.max_pool(passed) if block.pool else passed


# Exact statistics


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("batch_size", [6, 4, 1])
def test_exact_statistics_are_those_of_the_convolutions(model: Model, batch_size: int) -> None:
    """Of all images at once, the second layer's after the first works with its exact ones."""
    network, images = network_of(model), some_images(6)
    features = numpy(images).transpose(0, 3, 1, 2) / 255
    expected = []
    for index in range(2):
        mean, variance, features = np_layer(network, index, features)
        expected += [mean, variance]
    with precise_batch_norm(network, images, batch_size=batch_size):
        found = statistics_of(network)[:4]
    # A few bits of the first layer may fall on the other side of a threshold.
    for one, other in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(found[2:], expected[2:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_exact_statistics_come_by_the_names_of_their_buffers(model: Model) -> None:
    network = network_of(model)
    with precise_batch_norm(network, some_images(5), batch_size=3) as exact:
        inside = {name: value.clone() for name, value in network.state_dict().items()}
    names = {name for name in inside if name.endswith(("running_mean", "running_var"))}
    assert len(names) == 14
    assert set(exact) == names
    # Copies: they outlive the running statistics' return.
    assert all(torch.equal(exact[name], inside[name]) for name in names)
    assert all(not torch.equal(exact[name], network.state_dict()[name]) for name in names)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 100])
def test_exact_statistics_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    network, images = network_of(Teacher), some_images(10)
    with precise_batch_norm(network, images, batch_size=10):
        expected = statistics_of(network)
    with precise_batch_norm(network, images, batch_size=batch_size):
        found = statistics_of(network)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_exact_statistics_of_unlike_parts() -> None:
    """Parts with means far apart: the spread between them belongs to the variance."""
    network = network_of(Teacher)
    images = torch.cat([torch.zeros_like(some_images(3)), some_images(2) // 2 + 128])
    mean, variance, _ = np_layer(network, 0, numpy(images).transpose(0, 3, 1, 2) / 255)
    with precise_batch_norm(network, images, batch_size=3):
        found = statistics_of(network)[:2]
    np.testing.assert_allclose(found[0], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], variance, rtol=1e-5, atol=1e-7)


def test_exact_statistics_do_not_depend_on_the_running_ones() -> None:
    images = some_images(4)
    found = []
    for shift in (0.0, 5.0):
        network = network_of(Student)
        for block in network.stages():
            block.statistics[0].add_(shift)
        with precise_batch_norm(network, images, batch_size=4):
            found.append(statistics_of(network))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("model", MODELS)
def test_everything_is_restored_bit_for_bit(model: Model) -> None:
    network = network_of(model)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    addresses = [value.data_ptr() for value in network.state_dict().values()]
    with precise_batch_norm(network, some_images(3), batch_size=2):
        pass
    assert_same(network, before)
    with (
        pytest.raises(ZeroDivisionError),
        precise_batch_norm(network, some_images(3), batch_size=2),
    ):
        _ = 1 / 0
    assert_same(network, before)
    assert addresses == [value.data_ptr() for value in network.state_dict().values()]


def assert_same(network: Network, before: dict[str, Tensor]) -> None:
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("model", "half"), [(Teacher, "activate"), (Student, "_fused")])
def test_statistics_are_restored_if_taking_them_fails(
    monkeypatch: pytest.MonkeyPatch, model: Model, half: str
) -> None:
    network = network_of(model)
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def fail(*_: Tensor, **__: float) -> Tensor:
        raise MemoryError("third layer")

    monkeypatch.setattr(network.stages()[2], half, fail)
    with (
        pytest.raises(MemoryError, match="third layer"),
        precise_batch_norm(network, some_images(3), batch_size=2),
    ):
        pass
    assert_same(network, before)


@pytest.mark.skipif(not training_available(), reason="there is no C kernel")
def test_a_students_exact_statistics_in_c_are_those_of_the_plain_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But for rounding, and the bits that it flips; and whatever the running ones are."""
    network, images = network_of(Student), some_images(6)
    with precise_batch_norm(network, images, batch_size=6):
        fast = statistics_of(network)
    network.stages()[1].statistics[1].fill_(torch.nan)
    with precise_batch_norm(network, images, batch_size=4):
        again = statistics_of(network)
    monkeypatch.setattr("bitstill.models.fused_block", lambda *_, **__: None)
    with precise_batch_norm(network, images, batch_size=6):
        plain = statistics_of(network)
    for one, same, other in zip(fast, again, plain, strict=True):
        assert np.array_equal(one, same)
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-2)
    for one, other in zip(fast[:2], plain[:2], strict=True):  # no bits were read yet
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


# Accuracy


BOTH = EvaluationConfig("both", calibration_images=8, batch_size=4)
NO_IMAGES, SOME = some_split(0), some_split(8, seed=3)


def some_data(test: Split, *, val: Split = NO_IMAGES, train: Split = SOME) -> ImageData:
    return ImageData(train, val, test, names=tuple("0123456789"), identity="")


def evaluated(network: Network, data: ImageData, how: EvaluationConfig = BOTH) -> dict[str, Tensor]:
    return evaluate(network, data, how).correct


def by_hand(network: Network, split: Split) -> list[bool]:
    """Image by image: is the largest logit the label's?"""
    found = []
    for image, label in zip(split.images, split.labels, strict=True):
        x = torch.from_numpy(image.numpy().transpose(2, 0, 1)[None].astype(np.float32) / 255)
        with torch.no_grad():
            logits = network(x)[0].tolist()
        found.append(logits.index(max(logits)) == label.item())
    return found


def decided_split(network: Network, count: int) -> Split:
    """Images of unlike colours, and labels that the network gets right for every other one."""
    colours = torch.from_numpy(np.random.default_rng(9).uniform(0, 1, (count, 1, 1, 3)))
    images = (some_images(count, seed=8) * colours).to(torch.uint8)
    with torch.no_grad():  # centred logits, so that not one class wins everywhere
        logits = network(to_input(images))
        network.classifier.bias.sub_(logits.mean(dim=0))
    labels = predictions(deployed_classifier(network), images, batch_size=1)
    assert len(labels.unique()) > 3
    labels[1::2] = (labels[1::2] + 1) % 10
    return Split(images, labels)


@pytest.mark.parametrize("model", MODELS)
def test_correctness_equals_argmax_by_hand(model: Model) -> None:
    network = network_of(model)
    split = decided_split(network, 10)
    data = some_data(split)
    found = evaluated(network, data)
    assert found["test/accuracy"].tolist() == [True, False] * 5
    assert found["test/accuracy"].tolist() == by_hand(network, split)
    with precise_batch_norm(network, data.train.images, batch_size=8):
        expected = by_hand(network, split)
    assert found["test/accuracy_precise"].tolist() == expected
    assert expected != [True, False] * 5  # the statistics do matter here
    assert {value.dtype for value in found.values()} == {torch.bool}


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits"), [(2, 1), (1, 1), (3, 2)], ids=["engine", "torch", "levels"]
)
def test_a_student_is_evaluated_as_integers(weight_bits: int, activation_bits: int) -> None:
    """Bit for bit the integer network's logits, not the float path's, which round otherwise."""
    student = random_student(3, with_bits(weight_bits, activation_bits))
    images = some_images(20)
    found = deployed_classifier(student)(images)
    assert torch.equal(found, integer_network(student)(images))
    assert not torch.equal(found, float_classifier(student)(images))


@pytest.mark.parametrize("bits", [(None, 1), (2, None)])
def test_full_precision_is_evaluated_in_float32(bits: tuple[int | None, int | None]) -> None:
    student = random_student(3, Quantizer(weight_bits=bits[0], activation_bits=bits[1]))
    images = some_images(5)
    assert torch.equal(deployed_classifier(student)(images), student(to_input(images)))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_predictions_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    network = network_of(Teacher)
    split = decided_split(network, 7)
    found = evaluated(network, some_data(split), EvaluationConfig("both", 8, batch_size))
    assert found["test/accuracy"].tolist() == [True, False, True, False, True, False, True]
    assert len(found["test/accuracy_precise"]) == 7


@pytest.mark.parametrize(
    ("batch_norm", "names"),
    [
        ("running", {"val/accuracy", "test/accuracy"}),
        ("precise", {"val/accuracy_precise", "test/accuracy_precise"}),
        (
            "both",
            {"val/accuracy", "test/accuracy", "val/accuracy_precise", "test/accuracy_precise"},
        ),
    ],
)
def test_only_what_is_asked_for_is_measured(
    batch_norm: Literal["both", "running", "precise"], names: set[str]
) -> None:
    data = some_data(some_split(4), val=some_split(3), train=some_split(4))
    found = evaluate(network_of(Student), data, EvaluationConfig(batch_norm, 4, batch_size=4))
    assert set(found.correct) == names
    lengths = {name.partition("/")[0]: len(value) for name, value in found.correct.items()}
    assert lengths == {"val": 3, "test": 4}
    assert len(found.exact) == (0 if batch_norm == "running" else 14)


def test_empty_splits_are_left_out() -> None:
    found = evaluated(network_of(Teacher), some_data(some_split(3), val=NO_IMAGES))
    assert set(found) == {"test/accuracy", "test/accuracy_precise"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_network_is_evaluated_in_evaluation_mode_and_left_as_it_was(
    model: Model, training: bool
) -> None:
    network = network_of(model).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    split = some_split(5)
    found = evaluated(network, some_data(split))
    assert {module.training for module in network.modules()} == {training}
    assert_same(network, before)
    again = evaluated(network.eval(), some_data(split))
    assert all(torch.equal(found[name], again[name]) for name in again)


def test_training_mode_comes_back_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is "left as it was": also where measuring it fails."""
    network = network_of(Student).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def fail(*arguments: object, **settings: object) -> Tensor:
        raise MemoryError("while predicting")

    monkeypatch.setattr(bitstill.training.evaluation, "predictions", fail)
    with pytest.raises(MemoryError, match="while predicting"):
        evaluated(network, some_data(some_split(2)), EvaluationConfig("precise", 8, 4))
    assert_same(network, before)
    assert network.training


@pytest.mark.parametrize(
    ("total", "count", "chosen"),
    [
        (10, 5, [0, 2, 4, 6, 8]),
        (10, 3, [0, 3, 6]),
        (7, 7, [0, 1, 2, 3, 4, 5, 6]),
        (4, 100, [0, 1, 2, 3]),
    ],
)
def test_calibration_images_are_spread_evenly(
    monkeypatch: pytest.MonkeyPatch, total: int, count: int, chosen: list[int]
) -> None:
    assert calibrated_with(monkeypatch, total, count) == chosen


def test_calibration_sees_every_class_of_sorted_data_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two hundred images, sorted: classes of twenty; thirty images make three of each."""
    chosen = calibrated_with(monkeypatch, 200, 30)
    assert np.bincount(np.array(chosen) // 20).tolist() == [3] * 10
    steps = np.diff(chosen)
    assert steps.min() >= math.floor(200 / 30)
    assert steps.max() <= math.ceil(200 / 30)


def calibrated_with(monkeypatch: pytest.MonkeyPatch, total: int, count: int) -> list[int]:
    """The indices of the images that exact statistics are taken over."""
    seen: list[int] = []

    @contextmanager
    def record(network: Network, images: Tensor, *, batch_size: int) -> Iterator[dict[str, Tensor]]:
        seen.extend(images[:, 0, 0, 0].tolist())
        yield {}

    monkeypatch.setattr(bitstill.training.evaluation, "precise_batch_norm", record)
    images = torch.zeros(total, 32, 32, 3, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(total)
    train = Split(images, torch.zeros(total, dtype=torch.int64))
    data = some_data(some_split(1), train=train)
    evaluated(Teacher(), data, EvaluationConfig("precise", calibration_images=count, batch_size=4))
    return seen
