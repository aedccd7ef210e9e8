"""The integer network against int64 loops, and against the student's float path."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.students import differing_levels, random_images, random_student, with_bits

from bitstill.errors import UserError
from bitstill.integer import (
    IntegerNetwork,
    codes_and_unit,
    convolved_in_one_product,
    integer_network,
)
from bitstill.quantizers import (
    WEIGHT_QUANTIZERS,
    WEIGHT_STEPS,
    Quantizer,
    WeightSteps,
    quantize_weight_dorefa,
)
from bitstill.training import evaluation
from bitstill.training.evaluation import disagreement


def plain(network: IntegerNetwork, images: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    """The levels of every layer, NHWC, in int64, one tap after the other."""
    features, found = images.astype(np.int64), []
    for layer in network.layers:
        codes, height = layer.codes.numpy().astype(np.int64), features.shape[1]
        padded = np.pad(features, ((0, 0), (1, 1), (1, 1), (0, 0)))
        sums = np.zeros((*features.shape[:3], len(codes)), np.int64)
        for y in range(3):
            for x in range(3):
                sums += padded[:, y : y + height, x : x + height] @ codes[:, :, y, x].T
        features = (sums[..., None] >= layer.thresholds.numpy()).sum(axis=-1)
        if layer.layer.pool:
            halves = (len(images), height // 2, 2, height // 2, 2, len(codes))
            features = features.reshape(halves).max(axis=(2, 4))
        found.append(features)
    return found


@pytest.mark.parametrize(
    "quantizer",
    [
        with_bits(2, 1),
        with_bits(2, 1, "dorefa"),
        with_bits(1, 1),
        with_bits(1, 1, "dorefa"),
        with_bits(3, 2),
        with_bits(8, 8),  # beyond 2^24: float64
    ],
    ids=str,
)
def test_every_level_of_every_layer(quantizer: Quantizer) -> None:
    network, images = integer_network(random_student(1, quantizer)), random_images(3, 2)
    for ours, theirs in zip(network.levels(images), plain(network, images.numpy()), strict=True):
        assert np.array_equal(ours.permute(0, 2, 3, 1).numpy(), theirs)


@pytest.mark.parametrize("quantizer", [with_bits(2, 1), with_bits(3, 2), with_bits(8, 8)], ids=str)
def test_one_product_is_the_convolution(quantizer: Quantizer) -> None:
    """What a GPU does in place of it."""
    network = integer_network(random_student(1, quantizer))
    levels = random_images(3, 2).permute(0, 3, 1, 2).float()
    for layer in network.layers:
        ours = convolved_in_one_product(levels.to(layer.exact_codes.dtype), layer.exact_codes)
        assert torch.equal(ours, layer.sums(levels))
        assert torch.equal(
            ours.double(), F.conv2d(levels.double(), layer.codes.double(), padding=1)
        )
        levels = layer.forward(levels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("quantizer", [with_bits(2, 1), with_bits(3, 2), with_bits(8, 8)], ids=str)
def test_a_gpu_gives_the_same_bits(quantizer: Quantizer) -> None:
    student, images = random_student(1, quantizer), random_images(200, 2)
    expected = integer_network(student)(images)
    found = integer_network(student.cuda())(images.cuda())
    assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("method", ["mean_scaled", "dorefa"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_times_unit_are_the_quantized_weights(method: str, bits: int) -> None:
    quantizer = with_bits(bits, 1, method)
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(bits))
    codes, unit = codes_and_unit(weight, quantizer)
    assert bool((codes.abs() <= 2**bits - 1).all())
    assert bool((codes % 2 == 1).all())
    torch.testing.assert_close(codes * float(unit), quantizer.quantize_weight(weight))


@pytest.mark.parametrize("quantizer", [with_bits(2, 1), with_bits(1, 1, "dorefa")], ids=str)
def test_threads_change_no_unit(quantizer: Quantizer, one_thread: None) -> None:
    """Torch sums 32,768 numbers and more in as many parts as there are threads."""
    for _ in range(10):
        weight = torch.randn(128, 128, 3, 3)
        torch.set_num_threads(1)
        codes, unit = codes_and_unit(weight, quantizer)
        torch.set_num_threads(4)
        again, the_same = codes_and_unit(weight, quantizer)
        assert torch.get_num_threads() == 4
        assert torch.equal(codes, again)
        assert unit == the_same


def test_levels_that_are_not_spread_evenly_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ternary weights, say, which kernels and integers would take for others."""

    def ternary(weight: torch.Tensor, *, bits: int) -> WeightSteps:
        m = float(weight.abs().mean())
        quantized = m * (weight / m).round().clamp(-1, 1)
        return WeightSteps(weight, weight, weight, quantized / (2 * m) + 0.5, quantized, m)

    def quantize(weight: torch.Tensor, *, bits: int) -> torch.Tensor:
        return ternary(weight, bits=bits).stretched

    monkeypatch.setitem(WEIGHT_STEPS, "mean_scaled", ternary)
    monkeypatch.setitem(WEIGHT_QUANTIZERS, "mean_scaled", quantize)
    with pytest.raises(
        UserError, match=r"or other levels than 2\^bits, spread evenly from -m to m"
    ):
        codes_and_unit(torch.tensor([-9.0, -0.1, 0.1, 9.0]), Quantizer())


def test_a_quantizer_that_trains_other_weights_than_its_steps_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its student would be evaluated as another one."""
    monkeypatch.setitem(WEIGHT_QUANTIZERS, "mean_scaled", quantize_weight_dorefa)
    with pytest.raises(UserError, match=r"^quantizer.method = mean_scaled gives other weights"):
        codes_and_unit(torch.tensor([-9.0, -0.1, 0.1, 9.0]), Quantizer())


def test_two_bits_are_minus_three_to_three() -> None:
    weight = torch.tensor([-9.0, -0.1, 0.1, 9.0])
    assert codes_and_unit(weight, Quantizer())[0].tolist() == [-3, -1, 1, 3]


@given(
    seed=st.integers(0, 2**31),
    method=st.sampled_from(["mean_scaled", "dorefa"]),
    weight_bits=st.integers(1, 3),
)
@example(seed=239165, method="dorefa", weight_bits=1)
@settings(max_examples=5)
def test_the_float_path_differs_in_few_levels(seed: int, method: str, weight_bits: int) -> None:
    student = random_student(seed, with_bits(weight_bits, 1, method))
    images = random_images(8, seed)
    network = integer_network(student)
    assert differing_levels(network, student, images) < 2e-4


def test_images_that_two_paths_classify_otherwise_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student, images = random_student(1), random_images(8)
    assert disagreement(student.train(), images, batch_size=5) == 0
    assert student.training
    labels = torch.arange(8)
    wrong = torch.tensor([0, 1, 2, 0, 4, 0, 6, 0])
    found = iter([labels[:5], labels[5:], wrong[:5], wrong[5:]])

    def classifier(_: object) -> object:
        return lambda part: F.one_hot(next(found), 10)

    monkeypatch.setattr(evaluation, "deployed_classifier", classifier)
    monkeypatch.setattr(evaluation, "float_classifier", classifier)
    assert disagreement(student, images, batch_size=5) == 3


@pytest.mark.parametrize("method", ["mean_scaled", "dorefa"])
def test_layers_of_zeros_and_of_one_sign(method: str) -> None:
    student, images = random_student(2, with_bits(2, 1, method)), random_images(6)
    with torch.no_grad():
        student.stages()[1].conv.weight.zero_()
        student.stages()[3].conv.weight.abs_()
        student.stages()[5].conv.weight.abs_().neg_()
    assert differing_levels(integer_network(student), student, images) == 0


def test_logits_of_the_counts() -> None:
    network, images = integer_network(random_student(3)), random_images(4)
    counts = network.levels(images)[-1].double().mean(dim=(2, 3))
    expected = counts @ network.weight.double().T + network.bias.double()
    torch.testing.assert_close(network(images).double(), expected, rtol=1e-6, atol=1e-6)


def test_batches_do_not_matter() -> None:
    network, images = integer_network(random_student(4)), random_images(6)
    parts = [network(part) for part in images.split(1)]
    assert torch.equal(network(images), torch.cat(parts))


@pytest.mark.parametrize("name", ["weight_bits", "activation_bits"])
def test_full_precision_is_refused(name: str) -> None:
    student = random_student(0, Quantizer(**{name: None}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"quantizer.{name} = null .* has no integer form"):
        integer_network(student)


def test_a_diverged_student_is_refused() -> None:
    student = random_student(0)
    with torch.no_grad():
        student.stages()[0].conv.weight[0] = torch.nan
    with pytest.raises(ValueError, match="diverged"):
        integer_network(student)
