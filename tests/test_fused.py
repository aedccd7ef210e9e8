"""The training block in C against the plain path in float64, whose sums are exact enough."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bitstill.engine import training
from bitstill.engine.kernel import available
from bitstill.engine.training import Shape, TrainingBlock, training_available
from bitstill.fused import fused_block
from bitstill.models import Student, StudentBlock, to_input
from bitstill.quantizers import Quantizer, quantize_activation, quantize_weight_mean_scaled
from bitstill.topology import TOPOLOGY, Layer

pytestmark = [
    pytest.mark.skipif(not training_available(), reason="there is no C kernel"),
    pytest.mark.usefixtures("one_thread"),
]

MOMENTUM, EPSILON = 0.25, 1e-3
NUMBERS = {"multiplier": 0.1, "momentum": MOMENTUM, "epsilon": EPSILON}
SIDES = (32, 16, 16, 8, 8, 4, 4)
LAYERS = [pytest.param(*pair, id=pair[0].name) for pair in zip(TOPOLOGY, SIDES, strict=True)]


class Inputs(NamedTuple):
    x: Tensor
    weight: Tensor
    bias: Tensor
    gain: Tensor
    offset: Tensor
    multiplier: Tensor
    mean: Tensor
    variance: Tensor
    gradient: Tensor

    def copies(self, dtype: torch.dtype) -> "Inputs":
        return Inputs(*(one.detach().clone().to(dtype) for one in self))


def inputs(
    layer: Layer, side: int, *, batch: int = 3, seed: int = 0, spread: float = 0.4
) -> Inputs:
    """Draw a block's inputs; ``spread`` decides how many values lie where gradients pass."""
    draw = torch.Generator().manual_seed(seed)
    shape = (batch, layer.channels_in, side, side)
    if layer.channels_in == 3:
        images = torch.randint(0, 256, (batch, side, side, 3), generator=draw, dtype=torch.uint8)
        x = to_input(images)
    else:
        x = (torch.rand(shape, generator=draw) < 0.4).float()
    raw = 0.1 * torch.randn(layer.channels_out, layer.channels_in, 3, 3, generator=draw)
    last = torch.channels_last
    side = side // 2 if layer.pool else side
    channels = layer.channels_out
    return Inputs(
        x.contiguous(memory_format=last),
        quantize_weight_mean_scaled(raw.contiguous(memory_format=last), bits=2),
        torch.randn(channels, generator=draw),
        torch.rand(channels, generator=draw) - 0.5,
        (0.5 * torch.randn(channels, generator=draw) + 0.3) / spread,
        torch.tensor(spread),
        torch.randn(channels, generator=draw),
        torch.rand(channels, generator=draw),
        torch.randn(batch, channels, side, side, generator=draw).contiguous(memory_format=last),
    )


class Outputs(NamedTuple):
    features: Tensor
    gradients: dict[str, Tensor]
    mean: Tensor
    variance: Tensor


LEARNED = ("weight", "bias", "gain", "offset")


def plain(given: Inputs, *, pool: bool) -> Outputs:
    """The plain path's formula in float64."""
    one = given.copies(torch.float64)
    for name in ("x", *LEARNED):
        getattr(one, name).requires_grad_()
    convolved = F.conv2d(one.x, one.weight, one.bias, padding=1)
    normalized = F.batch_norm(
        convolved,
        one.mean,
        one.variance,
        weight=one.multiplier * (one.gain.abs() + 1),
        bias=one.multiplier * one.offset,
        training=True,
        momentum=MOMENTUM,
        eps=EPSILON,
    )
    features = quantize_activation(normalized, bits=1, scale=1)
    features = F.max_pool2d(features, 2) if pool else features
    features.backward(one.gradient)
    return Outputs(features.detach(), _gradients(one), one.mean, one.variance)


def fused(given: Inputs, *, pool: bool) -> Outputs:
    one = given.copies(torch.float32)
    for name in LEARNED if one.x.shape[1] == 3 else ("x", *LEARNED):
        getattr(one, name).requires_grad_()
    features = call(one, pool=pool)
    assert features is not None
    features.backward(one.gradient)
    return Outputs(features.detach(), _gradients(one), one.mean, one.variance)


def call(one: Inputs, *, pool: bool) -> Tensor | None:
    return fused_block(
        one.x,
        one.weight,
        bias=one.bias,
        gain=one.gain,
        offset=one.offset,
        multiplier=one.multiplier.item(),
        statistics=(one.mean, one.variance),
        momentum=MOMENTUM,
        epsilon=EPSILON,
        pool=pool,
    )


def _gradients(one: Inputs) -> dict[str, Tensor]:
    found = {name: getattr(one, name).grad for name in ("x", *LEARNED)}
    return {name: value for name, value in found.items() if value is not None}


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in the unit of the largest expected number."""
    return float((found.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("layer", "side"), LAYERS)
def test_features_are_exact_and_gradients_float32(layer: Layer, side: int) -> None:
    given = inputs(layer, side)
    expected, found = plain(given, pool=layer.pool), fused(given, pool=layer.pool)
    assert torch.equal(found.features.double(), expected.features)
    assert 0.1 < float(found.features.mean()) < 0.95  # neither all 0 nor all 1
    for name in ("weight", "gain", "offset", *(["x"] if side < 32 else [])):
        assert error(found.gradients[name], expected.gradients[name]) < 2e-5, name
    assert not found.gradients["bias"].any()
    assert expected.gradients["bias"].abs().max() < 1e-10  # zero, but for rounding
    assert error(found.mean, expected.mean) < 1e-6
    assert error(found.variance, expected.variance) < 1e-6


@pytest.mark.parametrize(("layer", "side"), LAYERS)
def test_autocast_changes_no_bit(layer: Layer, side: int) -> None:
    given = inputs(layer, side)
    whole = fused(given, pool=layer.pool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        short = fused(given, pool=layer.pool)
    assert short.features.dtype == torch.float32
    assert torch.equal(short.features, whole.features)
    for name, value in whole.gradients.items():
        assert torch.equal(short.gradients[name], value), name


@pytest.mark.parametrize(("layer", "side"), LAYERS)
def test_threads_do_not_change_a_bit(layer: Layer, side: int) -> None:
    given = inputs(layer, side, batch=5)
    alone = fused(given, pool=layer.pool)
    torch.set_num_threads(3)
    together = fused(given, pool=layer.pool)
    assert torch.equal(alone.features, together.features)
    # torch sums the image's weights, in an order that depends on the threads.
    for name in ("gain", "offset", *(["x", "weight"] if side < 32 else [])):
        assert torch.equal(alone.gradients[name], together.gradients[name]), name


@pytest.mark.parametrize("path", available()[1:])
@pytest.mark.parametrize(("layer", "side"), LAYERS)
def test_a_processors_paths_agree(
    layer: Layer, side: int, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = inputs(layer, side, batch=7)  # whole tiles' rows, and a rest
    fastest = fused(given, pool=layer.pool)
    monkeypatch.setattr(training, "_paths", lambda: (path,))
    found = fused(given, pool=layer.pool)
    assert torch.equal(found.features, fastest.features)
    for name, value in fastest.gradients.items():
        if name == "x":  # some compilers fuse additions for AVX-512 alone
            assert error(found.gradients[name], value.double()) < 1e-6
        else:
            assert torch.equal(found.gradients[name], value), name


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), batch=st.integers(1, 6), place=st.integers(1, 6))
def test_gradients_of_any_batch(seed: int, batch: int, place: int) -> None:
    """Batches of 4x4 pixels are summed four images at a time: of the last, fewer may be left."""
    assume(check_gradients(place, batch=batch, seed=seed))


@pytest.mark.parametrize(("place", "batch"), [(3, 8), (4, 9), (5, 32), (6, 37)])
def test_gradients_of_larger_batches(place: int, batch: int) -> None:
    """Of the input's gradient, 32 tiles are made at a time: 8 images of 8x8 pixels, 32 of 4x4."""
    assert check_gradients(place, batch=batch, seed=0)


def check_gradients(place: int, *, batch: int, seed: int) -> bool:
    """Return whether they could be compared: no value was within rounding's reach of a limit."""
    layer, side = TOPOLOGY[place], SIDES[place]
    given = inputs(layer, side, batch=batch, seed=seed)
    expected, found = plain(given, pool=layer.pool), fused(given, pool=layer.pool)
    same = torch.equal(found.features.double(), expected.features)
    for name in ("weight", "x") if same else ():
        assert error(found.gradients[name], expected.gradients[name]) < 1e-5, name
    return same


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    batch=st.integers(1, 4),
    place=st.integers(1, 6),
    spread=st.floats(0.01, 10),
)
def test_any_scale(seed: int, batch: int, place: int, spread: float) -> None:
    layer, side = TOPOLOGY[place], SIDES[place]
    given = inputs(layer, side, batch=batch, seed=seed, spread=spread)
    expected, found = plain(given, pool=layer.pool), fused(given, pool=layer.pool)
    # Within the rounding of slope and intercept a value may fall on the other side of a limit.
    wrong = (found.features.double() != expected.features).float().mean()
    assert wrong < 1e-4
    assert error(found.variance, expected.variance) < 1e-6


def test_the_pool_passes_its_gradient_as_torch_does() -> None:
    """To the first 1 of a window, and to the first pixel where there is none."""
    layer, side = TOPOLOGY[2], 16
    given = inputs(layer, side)
    for shift in (-0.3, 0.5, 1.3):  # windows of 0s, of both, of 1s
        one = given._replace(offset=torch.full_like(given.offset, shift) / given.multiplier)
        expected, found = plain(one, pool=True), fused(one, pool=True)
        assert torch.equal(found.features.double(), expected.features)
        assert error(found.gradients["x"], expected.gradients["x"]) < 2e-5


def test_only_the_size_of_a_gain_counts() -> None:
    given = inputs(TOPOLOGY[1], 16)
    size = given.gain.abs()
    size[::3] = 0
    found = {sign: fused(changed(given, gain=sign * size), pool=False) for sign in (1, -1)}
    assert torch.equal(found[1].features, found[-1].features)
    assert torch.equal(found[1].gradients["gain"], -found[-1].gradients["gain"])
    assert torch.equal(found[1].gradients["gain"] == 0, size == 0), "as torch.abs has it"


def test_a_student_in_training_takes_it() -> None:
    torch.manual_seed(0)
    student = Student()
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    features = to_input(images)
    for block in student.stages():
        features = block(features)
        assert features.grad_fn is not None
        assert features.grad_fn.name() == "_GradientBackward"
    student.eval()
    assert torch.equal(student(to_input(images)), student(to_input(images)))


def test_a_step_of_the_whole_student(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits agree but for rounding, in logits' own scale; so does the last layer's gradient."""
    torch.manual_seed(0)
    student = Student()
    images = to_input(torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8))
    labels = torch.arange(8)

    def step() -> tuple[Tensor, Tensor]:
        student.zero_grad()
        logits = student(images)
        F.cross_entropy(logits, labels).backward()
        gradient = student.classifier.weight.grad
        assert gradient is not None
        return logits.detach(), gradient.clone()

    fast = step()
    monkeypatch.setattr("bitstill.models.fused_block", lambda *_, **__: None)
    for found, expected in zip(fast, step(), strict=True):
        assert error(found, expected.double()) < 0.05  # a bit or two in the rounding's reach


def changed(given: Inputs, **values: Tensor) -> Inputs:
    return given._replace(**values)


def test_what_it_cannot_compute_is_left_to_the_plain_path() -> None:
    layer = TOPOLOGY[1]
    given = inputs(layer, 16)
    assert call(given, pool=False) is not None
    half = given.x.clone(memory_format=torch.preserve_format)
    half[1, 3, 2, 5] = 0.5
    endless = given.weight.clone(memory_format=torch.preserve_format)
    endless[3, 2, 1, 0] = torch.nan
    cases = {
        "features that are no bits": changed(given, x=half),
        "weights that are not finite": changed(given, weight=endless),
        "an infinite gain": changed(given, gain=given.gain / 0),
        "a NaN offset": changed(given, offset=given.offset * torch.nan),
        "float64": given.copies(torch.float64),
        "channels first": changed(given, x=given.x.contiguous()),
        "a picture that is not square": changed(
            given, x=given.x[:, :, :8].contiguous(memory_format=torch.channels_last)
        ),
    }
    for name, case in cases.items():
        before = case.mean.clone(), case.variance.clone()
        assert call(case, pool=False) is None, name
        assert torch.equal(case.mean, before[0]), name
        assert torch.equal(case.variance, before[1]), name


def test_an_image_gets_its_gradient_from_the_plain_path() -> None:
    torch.manual_seed(0)
    student = Student()
    images = to_input(torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)).requires_grad_()
    student(images).sum().backward()
    assert images.grad is not None
    assert images.grad.any()


def test_images_that_are_no_levels_are_left_to_the_plain_path() -> None:
    given = inputs(TOPOLOGY[0], 32)
    for value in (0.3, -1 / 255, 256 / 255, torch.nan, torch.inf):
        x = given.x.clone(memory_format=torch.preserve_format)
        x[2, 1, 31, 31] = value
        assert call(changed(given, x=x), pool=True) is None, value


def test_nan_weights_still_make_the_features_nan() -> None:
    given = inputs(TOPOLOGY[1], 16)
    block = StudentBlock(TOPOLOGY[1], quantizer=Quantizer(), momentum=0.1, epsilon=EPSILON)
    block.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a 4-D weight's
    assert "_Gradient" in type(block(given.x).grad_fn).__name__, "the kernel takes it"
    block.conv.weight.data[0, 0, 0, 0] = torch.nan
    assert block(given.x).isnan().any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_bias_that_is_not_finite_is_left_to_the_plain_path(value: float) -> None:
    given = inputs(TOPOLOGY[1], 16)
    bias = given.bias.clone()
    bias[3] = value
    mean = given.mean.clone()
    assert call(changed(given, bias=bias), pool=True) is None
    assert torch.equal(given.mean, mean)


def test_shapes_that_do_not_fit_are_left_to_the_plain_path() -> None:
    given = inputs(TOPOLOGY[1], 16)
    last = torch.channels_last
    thin = given.weight[:, :8].contiguous(memory_format=last)
    assert call(changed(given, weight=thin), pool=True) is None
    assert call(changed(given, gain=given.gain[:1]), pool=True) is None


def test_a_student_that_is_computed_anew_has_the_same_gradients() -> None:
    """Checkpointing gives the backward pass other tensors than those of the forward pass."""
    torch.manual_seed(0)
    student = Student()
    images = to_input(torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8))

    def gradients(*, anew: bool) -> list[Tensor]:
        student.zero_grad()
        features = images
        for block in student.stages():
            features = checkpoint(block, features, use_reentrant=False) if anew else block(features)
            noise = torch.full((1_000_000,), 7.0)  # takes what is freed
            del noise
        student.classify(features).sum().backward()
        return [one.grad.clone() for one in student.parameters() if one.grad is not None]

    expected, found = gradients(anew=False), gradients(anew=True)
    assert len(expected) == len(found) > 20
    assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))


class Interrupted:
    """A pool whose second part is not taken."""

    def __init__(self, threads: int) -> None:
        self._pool, self._left = ThreadPoolExecutor(threads), 1

    def submit(self, *call: Any) -> Any:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return self._pool.submit(*call)


def test_an_exception_waits_for_the_threads_that_still_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They would write into what it frees."""
    working = threading.Event()
    ended = []

    def slow(*_: object) -> int:
        working.set()
        time.sleep(0.3)
        ended.append(1)
        return 0

    block = TrainingBlock(Shape(4, 16, 16, 32, pool=False), **NUMBERS, threads=2)

    with monkeypatch.context() as patch:  # between the two that are handed over
        patch.setattr(training, "pool", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            block._share(slow, 4)
    assert len(ended) == 1
    ended.clear()

    def alarm(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(TimeoutError):
            block._share(slow, 4)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert working.is_set()
    assert len(ended) == 2


def test_zero_weights_have_a_variance_of_zero() -> None:
    given = inputs(TOPOLOGY[1], 16)
    zero = changed(given, weight=torch.zeros_like(given.weight))
    expected, found = plain(zero, pool=False), fused(zero, pool=False)
    assert torch.equal(found.features.double(), expected.features)
    assert torch.equal(found.gradients["gain"], torch.zeros_like(given.gain))


def test_the_kernel_writes_float32_whatever_torch_takes_by_default() -> None:
    given = inputs(TOPOLOGY[2], SIDES[2])
    expected = fused(given, pool=TOPOLOGY[2].pool)
    torch.set_default_dtype(torch.float64)
    try:
        found = fused(given, pool=TOPOLOGY[2].pool)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found.features, expected.features)
    assert all(torch.equal(found.gradients[name], expected.gradients[name]) for name in LEARNED)
