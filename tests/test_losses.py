"""The four losses against sums written out in float64, and their gradients against formulas."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from bitstill.losses import (
    constant_weight,
    cosine_weight,
    gt_soft_hard,
    hard,
    linear_weight,
    soft,
    soft_hard,
)

Array = NDArray[np.float64]
TEMPERATURES = [1e-3, 0.5, 1.0, 10.0, 15.0, 50.0, 100.0, 1e4]

# The example: two images, three classes. With e = exp(z) = [2, 4, 2] and [1, 3, 6] the soft
# maximum at T = 1 is [1/4, 1/2, 1/4] and [1/10, 3/10, 6/10]; the teacher's [1/2, 1/4, 1/4], thirds.
STUDENT = np.log([[2.0, 4.0, 2.0], [1.0, 3.0, 6.0]])
TEACHER = np.log([[4.0, 2.0, 2.0], [5.0, 5.0, 5.0]])
LABELS = [1, 0]


def softmax(logits: Array, temperature: float) -> Array:
    scaled = logits / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def cross_entropy(targets: Array, logits: Array, temperature: float) -> float:
    """-sum p log s(z/T), mean over the batch, with log s(z) = z - max - log sum exp(z - max)."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    logarithms = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return float(-(targets * logarithms).sum(axis=1).mean())


def one_hot(labels: list[int], classes: int) -> Array:
    return np.asarray(np.eye(classes)[labels])


def tensors(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """The example as student logits (a leaf), teacher logits and labels."""
    student = torch.tensor(STUDENT, dtype=dtype, requires_grad=True)
    return student, torch.tensor(TEACHER, dtype=dtype), torch.tensor(LABELS)


def gradient(loss: Tensor, student: Tensor) -> Array:
    (found,) = torch.autograd.grad(loss, student)
    return np.asarray(found.numpy(), dtype=np.float64)


# Values


def test_golden_values_at_temperature_1() -> None:
    student, teacher, labels = tensors()
    by_labels = -(math.log(1 / 2) + math.log(1 / 10)) / 2
    by_teacher = (
        -(
            math.log(1 / 4) / 2
            + math.log(1 / 2) / 4
            + math.log(1 / 4) / 4
            + (math.log(1 / 10) + math.log(3 / 10) + math.log(6 / 10)) / 3
        )
        / 2
    )
    assert hard(student, labels, temperature=1).item() == pytest.approx(by_labels)
    assert soft(student, teacher, temperature=1).item() == pytest.approx(by_teacher)
    both = soft_hard(student, teacher, labels, temperature=1, soft_weight=3)
    assert both.item() == pytest.approx(by_labels + 3 * by_teacher)
    twice = gt_soft_hard(student, labels, temperature=1, soft_weight=3)
    assert twice.item() == pytest.approx(4 * by_labels)


def test_golden_values_at_temperature_2() -> None:
    """Z/2 takes square roots of the odds: [1, sqrt 2, 1] and [1, sqrt 3, sqrt 6]."""
    student, teacher, labels = tensors()
    first, second = 2 + math.sqrt(2), 1 + math.sqrt(3) + math.sqrt(6)
    by_labels = -(math.log(math.sqrt(2) / first) + math.log(1 / second)) / 2
    sure, other = math.sqrt(2) / first, 1 / first  # the teacher's odds: [sqrt 2, 1, 1]
    by_teacher = (
        -(
            sure * math.log(1 / first)
            + other * math.log(math.sqrt(2) / first)
            + other * math.log(1 / first)
            + (math.log(1 / second) + math.log(3**0.5 / second) + math.log(6**0.5 / second)) / 3
        )
        / 2
    )
    textbook = -(math.log(1 / 2) + math.log(1 / 10)) / 2
    assert hard(student, labels, temperature=2).item() == pytest.approx(by_labels)
    assert soft(student, teacher, temperature=2).item() == pytest.approx(by_teacher)  # no T^2
    both = soft_hard(student, teacher, labels, temperature=2, soft_weight=2**2)
    assert both.item() == pytest.approx(textbook + 4 * by_teacher)
    twice = gt_soft_hard(student, labels, temperature=2, soft_weight=2**2)
    assert twice.item() == pytest.approx(textbook + 4 * by_labels)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_values_at_every_temperature(temperature: float) -> None:
    student, teacher, labels = tensors()
    truth, c = one_hot(LABELS, 3), temperature**2
    targets = softmax(TEACHER, temperature)
    textbook = cross_entropy(truth, STUDENT, 1)
    tempered = cross_entropy(truth, STUDENT, temperature)
    by_teacher = cross_entropy(targets, STUDENT, temperature)
    found = [
        hard(student, labels, temperature=temperature),
        soft(student, teacher, temperature=temperature),
        soft_hard(student, teacher, labels, temperature=temperature, soft_weight=c),
        gt_soft_hard(student, labels, temperature=temperature, soft_weight=c),
    ]
    expected = [tempered, by_teacher, textbook + c * by_teacher, textbook + c * tempered]
    assert [loss.item() for loss in found] == pytest.approx(expected, rel=1e-12)
    assert all(loss.shape == () for loss in found)


# Gradients


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_gradients_at_every_temperature(temperature: float) -> None:
    student, teacher, labels = tensors()
    truth, c, t, n = one_hot(LABELS, 3), temperature**2, temperature, len(LABELS)
    from_truth = (softmax(STUDENT, t) - truth) / t / n
    from_teacher = (softmax(STUDENT, t) - softmax(TEACHER, t)) / t / n
    textbook = (softmax(STUDENT, 1) - truth) / n
    pairs = [
        (hard(student, labels, temperature=t), from_truth),
        (soft(student, teacher, temperature=t), from_teacher),
        (
            soft_hard(student, teacher, labels, temperature=t, soft_weight=c),
            textbook + c * from_teacher,
        ),
        (gt_soft_hard(student, labels, temperature=t, soft_weight=c), textbook + c * from_truth),
    ]
    for loss, expected in pairs:
        found = gradient(loss, student)
        # Probabilities differ by 1e-16 or so; the factor in front of them can be c / T.
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15 * max(1, t, 1 / t))


def test_teacher_gets_no_gradient() -> None:
    student, teacher, labels = tensors()
    teacher.requires_grad_()
    loss = soft(student, teacher, temperature=2) + soft_hard(
        student, teacher, labels, temperature=2, soft_weight=4
    )
    loss.backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_soft_is_smallest_where_the_student_equals_the_teacher() -> None:
    """Only there is the gradient zero; the value is the entropy of the soft targets."""
    teacher = torch.tensor(TEACHER)
    student = (teacher + 7).requires_grad_()  # a shift of all classes changes nothing
    loss = soft(student, teacher, temperature=3)
    targets = softmax(TEACHER, 3)
    assert loss.item() == pytest.approx(-(targets * np.log(targets)).sum() / 2)
    assert np.abs(gradient(loss, student)).max() < 1e-15


# The scale argument


def norms(temperature: float) -> tuple[float, float, float]:
    """Gradient norms of the textbook term, and of either second term with c = T^2."""
    student, teacher, labels = tensors()
    t = temperature
    textbook = gradient(hard(student, labels, temperature=1), student)
    both = gradient(soft_hard(student, teacher, labels, temperature=t, soft_weight=t * t), student)
    twice = gradient(gt_soft_hard(student, labels, temperature=t, soft_weight=t * t), student)
    return (
        float(np.linalg.norm(textbook)),
        float(np.linalg.norm(both - textbook)),
        float(np.linalg.norm(twice - textbook)),
    )


def test_t_squared_keeps_the_soft_term_alike() -> None:
    """(s(z/T) - s(v/T)) T tends to the centred difference of the logits over the classes."""
    difference = STUDENT - TEACHER
    centred = difference - difference.mean(axis=1, keepdims=True)
    limit = float(np.linalg.norm(centred)) / 3 / 2  # three classes, two images
    textbook = norms(100)[0]
    ratios = [norms(t)[1] / textbook for t in (10, 100, 1000)]
    errors = [abs(ratio - limit / textbook) for ratio in ratios]
    assert errors[2] < 1e-3
    assert errors[2] < errors[1] / 5 < errors[0] / 25  # falls as 1/T
    # Without c the term falls as 1/T^2.
    student, teacher, _ = tensors()
    bare = [
        float(np.linalg.norm(gradient(soft(student, teacher, temperature=t), student)))
        for t in (100, 1000)
    ]
    assert bare[0] / bare[1] == pytest.approx(100, rel=0.05)


def test_t_squared_lets_the_ground_truth_term_grow_like_t() -> None:
    """S(z/T) - y tends to 1/classes - y, which does not shrink."""
    ratios = [norms(t)[2] / norms(t)[0] for t in (100, 1000, 10000)]
    assert ratios[1] / ratios[0] == pytest.approx(10, rel=0.02)
    assert ratios[2] / ratios[1] == pytest.approx(10, rel=0.002)
    uniform = np.full((2, 3), 1 / 3) - one_hot(LABELS, 3)
    assert norms(10000)[2] == pytest.approx(10000 * np.linalg.norm(uniform) / 2, rel=1e-3)


# Extremes


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 15.0, 1e4])
def test_float32_is_finite_and_near_float64_at_huge_logits(temperature: float) -> None:
    z = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 1.0, -1e4]])
    v = np.array([[-1e4, 1e4, 0.0], [1e4, 1e4, -1e4], [5.0, 4.0, 1e4]])
    labels, t, c = [1, 0, 2], temperature, temperature**2
    truth, targets = one_hot(labels, 3), softmax(v, temperature)
    student = torch.tensor(z, dtype=torch.float32, requires_grad=True)
    teacher = torch.tensor(v, dtype=torch.float32)
    index = torch.tensor(labels)
    textbook = cross_entropy(truth, z, 1)
    tempered, by_teacher = cross_entropy(truth, z, t), cross_entropy(targets, z, t)
    for loss, expected in [
        (hard(student, index, temperature=t), tempered),
        (soft(student, teacher, temperature=t), by_teacher),
        (
            soft_hard(student, teacher, index, temperature=t, soft_weight=c),
            textbook + c * by_teacher,
        ),
        (gt_soft_hard(student, index, temperature=t, soft_weight=c), textbook + c * tempered),
    ]:
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        assert np.isfinite(gradient(loss, student)).all()


EXTREME = [1e-3, 1e-2, 0.1, 1.0, 15.0, 1e2, 1e3, 1e4]
Terms = Callable[[Tensor, Tensor, Tensor, float], Tensor]
TERMS: dict[str, Terms] = {
    "hard": lambda z, v, y, t: hard(z, y, temperature=t),
    "soft": lambda z, v, y, t: soft(z, v, temperature=t),
    "soft_hard": lambda z, v, y, t: soft_hard(z, v, y, temperature=t, soft_weight=t**2),
    "gt_soft_hard": lambda z, v, y, t: gt_soft_hard(z, y, temperature=t, soft_weight=t**2),
}


@pytest.mark.parametrize("loss", TERMS)
@pytest.mark.parametrize("temperature", EXTREME)
@pytest.mark.parametrize("largest", [1e-3, 1.0, 1e2, 1e4])
def test_float32_is_finite_where_float64_is_and_its_gradient_is_float64s(
    loss: str, temperature: float, largest: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    z, v = largest * (2 * torch.rand(2, 16, 10, generator=generator, dtype=torch.float64) - 1)
    z[0], v[0], z[1], v[1] = largest, -largest, -largest, largest  # all alike
    z[2, ::2], v[2, ::2] = largest, -largest
    labels = torch.arange(16) % 10
    found = {}
    for kind in (torch.float32, torch.float64):
        # Both from the same numbers: what rounding the logits does is not the losses' matter.
        student = z.float().to(kind).requires_grad_(True)
        value = TERMS[loss](student, v.float().to(kind), labels, temperature)
        found[kind] = value.detach().double(), torch.autograd.grad(value, student)[0].double()
    (value, slope), (exact, exact_slope) = found[torch.float32], found[torch.float64]
    assert exact.isfinite()
    assert exact_slope.isfinite().all()
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    # float32 has z / T to 24 bits, and a softmax is as exact as that is in absolute terms. A
    # gradient is a difference of two, over T and the images: it is exact on that scale.
    together = loss.endswith("soft_hard")
    scale = (1 + temperature if together else 1 / temperature) / len(z)
    rounding = 2**-22 * (1 + largest / (min(temperature, 1) if together else temperature))
    assert (slope - exact_slope).abs().max().item() <= min(rounding, 1) * scale


# Refusals

CALLS: list[Callable[[float], Tensor]] = [
    lambda t: hard(torch.zeros(1, 2), torch.zeros(1).long(), temperature=t),
    lambda t: soft(torch.zeros(1, 2), torch.zeros(1, 2), temperature=t),
    lambda t: soft_hard(
        torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1).long(), temperature=t, soft_weight=1
    ),
    lambda t: gt_soft_hard(torch.zeros(1, 2), torch.zeros(1).long(), temperature=t, soft_weight=1),
]


@pytest.mark.parametrize("call", CALLS, ids=["hard", "soft", "soft_hard", "gt_soft_hard"])
@pytest.mark.parametrize("temperature", [0, 0.0, -1.0, math.nan, math.inf, -math.inf])
def test_other_temperatures_are_refused(
    call: Callable[[float], Tensor], temperature: float
) -> None:
    text = f"^temperature = {temperature} is not allowed: give a finite number above 0$"
    with pytest.raises(ValueError, match=text):
        call(temperature)
    assert call(2.0).isfinite()


# The factor c

FALLING: list[Callable[..., float]] = [linear_weight, cosine_weight]


def test_values_of_the_soft_weight() -> None:
    at = [0.0, 0.5, 1.0]
    assert [constant_weight(p, value=225) for p in at] == [225, 225, 225]
    assert [linear_weight(p, initial=225, final=25) for p in at] == [225, 125, 25]
    assert [cosine_weight(p, initial=225, final=25) for p in at] == pytest.approx([225, 125, 25])
    assert linear_weight(0.25, initial=225, final=25) == 175
    # cos(pi/4) = sqrt(1/2): slower than the line at first.
    assert cosine_weight(0.25, initial=225, final=25) == pytest.approx(125 + 100 * math.sqrt(0.5))


WEIGHT = st.floats(0, 1e4)
PROGRESS = st.floats(0, 1)


@pytest.mark.parametrize("schedule", FALLING)
@given(ends=st.tuples(WEIGHT, WEIGHT), progress=st.tuples(PROGRESS, PROGRESS))
def test_soft_weight_falls_and_stays_between_its_ends(
    schedule: Callable[..., float], ends: tuple[float, float], progress: tuple[float, float]
) -> None:
    final, initial = sorted(ends)
    early, late = (schedule(p, initial=initial, final=final) for p in sorted(progress))
    slack = 1e-12 * initial
    assert initial + slack >= early >= late - slack
    assert late >= final - slack


@given(progress=PROGRESS, value=WEIGHT)
def test_constant_weight_is_constant(progress: float, value: float) -> None:
    assert constant_weight(progress, value=value) == value


def test_temperature_is_given_by_name() -> None:
    """Of several numbers in a row, none can be taken for another."""
    student, teacher, labels = tensors()
    wrong: list[tuple[Callable[..., Any], tuple[object, ...]]] = [
        (hard, (student, labels, 1)),
        (soft, (student, teacher, 1)),
        (soft_hard, (student, teacher, labels, 1, 1)),
        (gt_soft_hard, (student, labels, 1, 1)),
    ]
    for loss, arguments in wrong:
        with pytest.raises(TypeError, match="positional argument"):
            loss(*arguments)
