"""The four losses as one family of pure functions, and the factor c of their second term.

Notation, after Hinton et al. 2015 (arXiv 1503.02531): z student logits, v teacher logits, y labels,
s softmax (s(z/T) is its eq. 1), T temperature, CE(p, z) = -sum p log s(z), 0 or more and averaged
over the batch. Every loss is made of at most two terms, a hard one CE(y, z) and a tempered one with
factor c (``soft_weight``). Gradients are those of one image, before the average. The L2 term that
each published loss adds is the optimizer's (:func:`bitstill.training.tasks.adam`).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Logits = Float[Tensor, "batch classes"]
Labels = Int[Tensor, " batch"]


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that divides by zero or turns the distribution around.

    Raises:
        ValueError: not a finite number above 0.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(
            f"temperature = {temperature} is not allowed: give a finite number above 0"
        )


def hard(student_logits: Logits, labels: Labels, *, temperature: float) -> Float[Tensor, ""]:
    """CE(y, z/T): ground truth only (the student "q1" of Table 1, published with T = 15).

    T = 1 is the textbook loss, and the one that the teacher is trained with. The gradient with
    respect to z is (s(z/T) - y) / T.

    Args:
        student_logits: z, (batch, classes).
        labels: y, (batch,), int64.
        temperature: T > 0.

    Raises:
        ValueError: T is not a finite number above 0.
    """
    check_temperature(temperature)
    return F.cross_entropy(student_logits / temperature, labels)


def soft(
    student_logits: Logits, teacher_logits: Logits, *, temperature: float
) -> Float[Tensor, ""]:
    """CE(s(v/T), z/T): the teacher's soft targets only (Table 2), without a factor T^2.

    The gradient with respect to z is (s(z/T) - s(v/T)) / T (eq. 2); at high T the difference
    shrinks as 1/T too, so the whole falls as 1/T^2 (eq. 4).

    Args:
        student_logits: z, (batch, classes).
        teacher_logits: v, (batch, classes), not differentiated.
        temperature: T > 0, applied to both.

    Raises:
        ValueError: T is not a finite number above 0.
    """
    check_temperature(temperature)
    targets = torch.softmax(teacher_logits.detach() / temperature, dim=1)
    return F.cross_entropy(student_logits / temperature, targets)


def soft_hard(
    student_logits: Logits,
    teacher_logits: Logits,
    labels: Labels,
    *,
    temperature: float,
    soft_weight: float,
) -> Float[Tensor, ""]:
    """CE(y, z) + c CE(s(v/T), z/T): hard and soft terms (Table 3, with c = T^2).

    The gradient with respect to z is s(z) - y + c (s(z/T) - s(v/T)) / T. Its second part falls as
    1/T^2, and c = T^2 makes up for that, as the paper advises (section 2).

    Args:
        student_logits: z, (batch, classes).
        teacher_logits: v, (batch, classes), not differentiated.
        labels: y, (batch,), int64.
        temperature: T > 0, in the soft term alone.
        soft_weight: c.

    Raises:
        ValueError: T is not a finite number above 0.
    """
    soft_term = soft(student_logits, teacher_logits, temperature=temperature)
    return hard(student_logits, labels, temperature=1) + soft_weight * soft_term


def gt_soft_hard(
    student_logits: Logits, labels: Labels, *, temperature: float, soft_weight: float
) -> Float[Tensor, ""]:
    """CE(y, z) + c CE(y, z/T): the ground truth in both terms (Table 4, with c = T^2).

    No teacher takes part. The gradient with respect to z is s(z) - y + c (s(z/T) - y) / T. Its
    difference s(z/T) - y does not shrink with T, so the second part falls as 1/T only, and c = T^2
    lets it grow like T.

    Args:
        student_logits: z, (batch, classes).
        labels: y, (batch,), int64.
        temperature: T > 0, in the second term alone.
        soft_weight: c.

    Raises:
        ValueError: T is not a finite number above 0.
    """
    tempered = hard(student_logits, labels, temperature=temperature)
    return hard(student_logits, labels, temperature=1) + soft_weight * tempered


def constant_weight(progress: float, *, value: float) -> float:
    """Return the same c throughout training; T^2 is such a constant.

    Args:
        progress: the finished part of training, in [0, 1].
        value: c.
    """
    return value


def linear_weight(progress: float, *, initial: float, final: float) -> float:
    """Return c, which falls on a straight line: soft targets early, labels late.

    Args:
        progress: the finished part of training, in [0, 1].
        initial: c in the first epoch.
        final: c when training ends: an epoch after the last has begun.
    """
    return initial + (final - initial) * progress


def cosine_weight(progress: float, *, initial: float, final: float) -> float:
    """Return c, which falls on half a cosine, slowly at either end.

    Args:
        progress: the finished part of training, in [0, 1].
        initial: c in the first epoch.
        final: c when training ends: an epoch after the last has begun.
    """
    return final + (initial - final) * (1 + math.cos(math.pi * progress)) / 2
