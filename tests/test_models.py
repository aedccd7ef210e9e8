"""The two networks, block by block, against NumPy in float64."""

import copy
import math

import numpy as np
import pytest
import scipy.stats
import torch
from tests import reference
from tests.reference import EPSILON, Array, numpy
from torch import Tensor, nn

from bitstill.models import (
    Block,
    Student,
    StudentBlock,
    Teacher,
    TeacherBlock,
    to_input,
)
from bitstill.quantizers import Quantizer
from bitstill.topology import TOPOLOGY, Layer

pytestmark = pytest.mark.usefixtures("one_thread")

Model = type[Teacher] | type[Student]
MODELS: list[Model] = [Teacher, Student]
MOMENTUM = 0.01


def scatter(block: Block) -> None:
    """Move everything in a block that starts at 0 or 1 away from there."""
    draw = torch.Generator().manual_seed(5)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=draw) * (high - low) + low)

    mean, variance = block.statistics
    with torch.no_grad():
        assert block.conv.bias is not None
        uniform(block.conv.bias, -0.3, 0.3)
        uniform(mean, -0.2, 0.2)
        uniform(variance, 0.2, 1.5)
        if isinstance(block, StudentBlock):
            uniform(block.gain, -2, 2)
            uniform(block.offset, 2, 6)
        else:
            uniform(block.norm.weight, -1, 2)
            uniform(block.norm.bias, -0.5, 0.5)


def inputs(layer: Layer, *, size: int = 8, batch: int = 4) -> Tensor:
    """An image for the first layer, bits for the others."""
    draw = torch.Generator().manual_seed(6)
    x = torch.rand(batch, layer.channels_in, size, size, generator=draw)
    return x if layer.name == "conv1" else (x < 0.4).float()


def student_block(layer: Layer, quantizer: Quantizer | None = None) -> StudentBlock:
    block = StudentBlock(
        layer, quantizer=quantizer or Quantizer(), momentum=MOMENTUM, epsilon=EPSILON
    )
    scatter(block)
    return block


def np_affine(block: StudentBlock, x: Tensor, weight: Array) -> Array:
    """Convolution, bias, batch norm, (|k| + 1) x + b: what the feature quantizer gets."""
    convolved = reference.convolve(numpy(x), weight, numpy(block.conv.bias))
    mean, variance = (numpy(one) for one in block.statistics)
    if block.training:
        mean, variance = reference.moments(convolved)
    gain, offset = numpy(block.gain)[:, None, None], numpy(block.offset)[:, None, None]
    return np.asarray((np.abs(gain) + 1) * reference.normalize(convolved, mean, variance) + offset)


# The topology


def test_topology_is_the_published_one() -> None:
    assert [tuple(layer) for layer in TOPOLOGY] == [
        ("conv1", 3, 16, True),
        ("conv21", 16, 32, False),
        ("conv22", 32, 32, True),
        ("conv31", 32, 64, False),
        ("conv32", 64, 64, True),
        ("conv41", 64, 128, False),
        ("conv42", 128, 128, False),
    ]


@pytest.mark.parametrize("model", MODELS)
def test_trainable_numbers(model: Model) -> None:
    network = model()
    trained = {
        name: parameter.numel()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }
    assert sum(trained.values()) == 293_418
    kinds = {
        "conv.weight": 290_736,
        "conv.bias": 464,
        ("norm.weight" if model is Teacher else "gain"): 464,
        ("norm.bias" if model is Teacher else "offset"): 464,
    }
    for ending, count in kinds.items():
        assert sum(n for name, n in trained.items() if name.endswith(ending)) == count
    assert sum(n for name, n in trained.items() if name.startswith("classifier")) == 1_290
    assert len(trained) == 7 * 4 + 2


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_output_has_a_logit_for_each_class(model: Model, classes: int) -> None:
    network = model(classes=classes)
    assert network(torch.rand(3, 3, 32, 32)).shape == (3, classes)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 293_418 + 129 * (classes - 10)


@pytest.mark.parametrize("model", MODELS)
def test_blocks_run_in_the_order_of_the_topology(model: Model) -> None:
    network = model().eval()
    for block in network.stages():
        scatter(block)
    images = torch.rand(2, 3, 32, 32)
    features, sizes = images, []
    for name in ("conv1", "conv21", "conv22", "conv31", "conv32", "conv41", "conv42"):
        features = network.blocks[name](features)
        sizes.append((name, *features.shape[1:]))
    assert sizes == [
        ("conv1", 16, 16, 16),
        ("conv21", 32, 16, 16),
        ("conv22", 32, 8, 8),
        ("conv31", 64, 8, 8),
        ("conv32", 64, 4, 4),
        ("conv41", 128, 4, 4),
        ("conv42", 128, 4, 4),
    ]
    assert torch.equal(network.classify(features), network(images))


# Initialization


@pytest.mark.parametrize("model", MODELS)
def test_weights_start_from_a_truncated_normal(model: Model) -> None:
    network = model()
    truncated = scipy.stats.truncnorm(-2, 2)
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        weight = numpy(module.weight)
        fan_in = weight[0].size
        # The drawn normal's deviation, such that what is left of it has variance 1/fan_in.
        std = 1 / math.sqrt(fan_in * truncated.var())
        assert np.abs(weight).max() <= 2 * std * (1 + 1e-6)
        assert scipy.stats.kstest(weight.ravel() / std, truncated.cdf).pvalue > 1e-3
        kurtosis = 3 + truncated.stats("k")
        error = math.sqrt((kurtosis - 1) / weight.size)  # relative, of a variance
        assert weight.var() * fan_in == pytest.approx(1, abs=4 * error)
        assert module.bias is not None
        assert not module.bias.any()


def test_student_starts_with_k_1_and_b_0() -> None:
    for block in Student().stages():
        assert isinstance(block, StudentBlock)
        assert (block.gain == 1).all()
        assert (block.offset == 0).all()
        names = {name for name, _ in block.named_parameters()}
        assert names == {"conv.weight", "conv.bias", "gain", "offset"}


@pytest.mark.parametrize("model", MODELS)
def test_batch_norm_is_tensorflows(model: Model) -> None:
    for block in model().stages():
        assert (block.norm.momentum, block.norm.eps) == (0.01, 1e-3)
    for block in model(batch_norm_momentum=0.2, batch_norm_epsilon=1e-5).stages():
        assert (block.norm.momentum, block.norm.eps) == (0.2, 1e-5)


def test_images_become_input() -> None:
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    images[0, 0, 0], images[1, 5, 6] = torch.tensor([0, 1, 255]), torch.tensor([51, 102, 204])
    found = to_input(images)
    assert (found.dtype, found.shape) == (torch.float32, (2, 3, 32, 32))
    assert found[0, :, 0, 0].tolist() == pytest.approx([0, 1 / 255, 1])
    assert found[1, :, 5, 6].tolist() == pytest.approx([0.2, 0.4, 0.8])
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = images.numpy().astype(np.float64).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_convolution_weights_lie_channels_last(model: Model) -> None:
    for block in model().stages():
        assert block.conv.weight.is_contiguous(memory_format=torch.channels_last)


# Batch norm's running statistics


@pytest.mark.parametrize("model", MODELS)
def test_running_statistics_after_one_step(model: Model) -> None:
    """0.99 old + 0.01 batch, the batch's variance over n - 1, as in both frameworks."""
    network = model().train()
    images = torch.rand(4, 3, 32, 32)
    block = network.stages()[0]
    scatter(block)
    old_mean, old_variance = (numpy(one) for one in block.statistics)
    network(images)
    weight = numpy(block.conv.weight)
    if model is Student:
        weight = reference.two_bits(weight)
    convolved = reference.convolve(numpy(images), weight, numpy(block.conv.bias))
    mean, variance = reference.moments(convolved)
    n = 4 * 32 * 32
    found_mean, found_variance = block.statistics
    np.testing.assert_allclose(
        numpy(found_mean), 0.99 * old_mean + 0.01 * mean, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        numpy(found_variance), 0.99 * old_variance + 0.01 * variance * n / (n - 1), rtol=1e-5
    )


@pytest.mark.parametrize("model", MODELS)
def test_evaluation_moves_no_statistics(model: Model) -> None:
    network = model().eval()
    before = copy.deepcopy(network.state_dict())
    network(torch.rand(2, 3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# The teacher's block


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", TOPOLOGY, ids=lambda layer: layer.name)
def test_teacher_block(layer: Layer, training: bool) -> None:
    block = TeacherBlock(layer, momentum=MOMENTUM, epsilon=EPSILON).train(training)
    scatter(block)
    x = inputs(layer)
    convolved = reference.convolve(numpy(x), numpy(block.conv.weight), numpy(block.conv.bias))
    mean, variance = (numpy(one) for one in block.statistics)
    if training:
        mean, variance = reference.moments(convolved)
    scale, shift = numpy(block.norm.weight), numpy(block.norm.bias)
    normalized = reference.normalize(convolved, mean, variance)
    expected = np.maximum(scale[:, None, None] * normalized + shift[:, None, None], 0)
    if layer.pool:
        expected = reference.max_pool(expected)
    np.testing.assert_allclose(numpy(block(x)), expected, rtol=1e-4, atol=1e-5)


# The student's block


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", TOPOLOGY, ids=lambda layer: layer.name)
def test_student_block(layer: Layer, training: bool) -> None:
    block = student_block(layer).train(training)
    unpooled = student_block(layer._replace(pool=False)).train(training)
    unpooled.load_state_dict(block.state_dict())
    x = inputs(layer)
    before = 0.1 * np_affine(block, x, reference.two_bits(numpy(block.conv.weight)))
    expected = np.floor(np.clip(before, 0, 1) + 0.5)
    found = numpy(unpooled(x))
    assert 0.2 < expected.mean() < 0.8
    # Float32 may decide otherwise only where the value lies on the threshold.
    disagree = found != expected
    assert (np.abs(before[disagree] - 0.5) <= 1e-5).all()
    assert disagree.sum() <= 2
    # The pool comes after the bits, and of bits the maximum is an OR.
    if layer.pool:
        bits = found.astype(bool)
        found = bits[..., ::2, ::2] | bits[..., 1::2, ::2]
        found = found | bits[..., ::2, 1::2] | bits[..., 1::2, 1::2]
    assert np.array_equal(numpy(block(x)), found)


@pytest.mark.parametrize("method", ["mean_scaled", "dorefa"])
@pytest.mark.parametrize("training", [True, False])
def test_full_precision_block(method: str, training: bool) -> None:
    """Neither weights nor features are rounded; the clip of 0.1 x stays."""
    layer = TOPOLOGY[1]
    quantizer = Quantizer(method=method, weight_bits=None, activation_bits=None)
    block = student_block(layer, quantizer).train(training)
    x = torch.rand(4, 16, 8, 8)
    expected = np.clip(0.1 * np_affine(block, x, numpy(block.conv.weight)), 0, 1)
    assert ((expected > 0) & (expected < 1)).mean() > 0.9
    np.testing.assert_allclose(numpy(block(x)), expected, rtol=0, atol=2e-6)


def test_block_with_other_settings() -> None:
    """Three bits of dorefa weights, two bits of features, another multiplier."""
    quantizer = Quantizer("dorefa", weight_bits=3, activation_bits=2, activation_scale=0.2)
    block = student_block(TOPOLOGY[1], quantizer).eval()
    x = torch.rand(4, 16, 8, 8)
    w = np.tanh(numpy(block.conv.weight))
    weight = 2 * np.floor(7 * (w / (2 * np.abs(w).max()) + 0.5) + 0.5) / 7 - 1
    before = 0.2 * np_affine(block, x, weight)
    steps = 3 * np.clip(before, 0, 1)
    expected = np.floor(steps + 0.5) / 3
    found = numpy(block(x))
    undecided = np.abs(steps - np.floor(steps) - 0.5) <= 1e-5
    np.testing.assert_allclose(found[~undecided], expected[~undecided], atol=1e-6)
    assert undecided.mean() < 1e-3
    assert len(np.unique(expected)) == 4


def test_gradient_of_gain_and_offset() -> None:
    """Straight through the rounding: 0.1 sign(k) n and 0.1 where the clip lets through."""
    layer = TOPOLOGY[1]
    block = student_block(layer).eval()
    x, upstream = inputs(layer), torch.randn(4, 32, 8, 8)
    block(x).backward(upstream)
    affine = np_affine(block, x, reference.two_bits(numpy(block.conv.weight)))
    gain, offset = numpy(block.gain)[:, None, None], numpy(block.offset)[:, None, None]
    normalized = (affine - offset) / (np.abs(gain) + 1)
    inside = (affine >= 0) & (affine <= 10)
    assert 0.5 < inside.mean() < 0.999
    for parameter, each in [
        (block.gain, 0.1 * np.sign(gain) * normalized),
        (block.offset, np.full_like(affine, 0.1)),
    ]:
        expected = (numpy(upstream) * inside * each).sum(axis=(0, 2, 3))
        np.testing.assert_allclose(numpy(parameter.grad), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [1, None])
def test_sign_of_k_does_not_matter(bits: int | None) -> None:
    network = Student(quantizer=Quantizer(activation_bits=bits)).eval()
    for block in network.stages():
        scatter(block)
    images = torch.rand(2, 3, 32, 32)
    before = network(images)
    gains = [block.gain for block in network.stages() if isinstance(block, StudentBlock)]
    with torch.no_grad():
        for gain in gains:
            gain.neg_()
        assert torch.equal(network(images), before)
        for gain in gains:
            gain.mul_(3)
        assert not torch.equal(network(images), before)


# What is not quantized


def test_image_is_not_quantized() -> None:
    """The first convolution sees the image's own values, far below one bit's resolution."""
    block = student_block(TOPOLOGY[0])
    images = torch.rand(1, 3, 8, 8) * 0.3
    expected = reference.convolve(
        numpy(images), reference.two_bits(numpy(block.conv.weight)), numpy(block.conv.bias)
    )
    np.testing.assert_allclose(numpy(block.convolve(images)), expected, rtol=0, atol=1e-6)


def test_last_average_is_a_count_and_the_last_layer_is_not_quantized() -> None:
    network = Student().eval()
    for block in network.stages():
        scatter(block)
    features = torch.rand(5, 3, 32, 32)
    for block in network.stages():
        features = block(features)
    assert features.shape == (5, 128, 4, 4)
    assert set(features.unique().tolist()) == {0, 1}
    counts = numpy(features).astype(int).sum(axis=(2, 3))
    assert ((counts > 0) & (counts < 16)).any()
    weight, bias = numpy(network.classifier.weight), numpy(network.classifier.bias)
    expected = counts / 16 @ weight.T + bias
    np.testing.assert_allclose(numpy(network.classify(features)), expected, atol=1e-5)


# Gradients reach everything


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_gradient_reaches_every_parameter(model: Model, training: bool) -> None:
    network = model().train(training)
    for block in network.stages():
        scatter(block)
    logits = network(torch.rand(8, 3, 32, 32))
    nn.functional.cross_entropy(logits, torch.arange(8)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A batch's own mean takes the bias away again, so there it has none to speak of.
        if not (training and name.endswith("conv.bias")):
            assert parameter.grad.any(), name
