"""Fold bias, batch norm, affine, clip and rounding of a student's block into integer thresholds.

With integer weight codes and integer features, a convolution is an integer sum S, and everything
behind it is one rising function of S, rounded to a level. So each level l = 1, 2, ... of a channel
is reached from one integer on::

    level(S) >= l
    <=>  n s ((|k| + 1) (u S + bias - mean) / sqrt(variance + epsilon) + b) >= l - 1/2
    <=>  u S >= mean - bias + r sqrt(variance + epsilon)
    with r = ((l - 1/2) / n - s b) / (s (|k| + 1))

where n = 2^bits - 1, u is the worth of one step of S, and s the quantizer's multiplier. The factor
|k| + 1 is positive, so the direction is always ``S >= threshold``; halves round up, so it is never
``S > threshold``.

The numbers on the right are floats, hence fractions, but for the square root, and the sign of
``a - r sqrt(v)`` follows from a, r and a^2 - r^2 v. So thresholds are exact: float64 proposes one,
and where it comes near an integer, fractions decide.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

DIVERGED = (
    "the weights or batch norm statistics are not finite, or a variance is negative: "
    "the run diverged; choose another run or epoch"
)
# Relative to the largest term; float64's own error is about 2^-50.
_DOUBT = 2.0**-40


@dataclass(frozen=True)
class Channels:
    """The numbers of one layer that decide its thresholds; arrays are float64, (channels,).

    Attributes:
        step: u, the worth of one step of the integer sum; 0 or more.
        bias: the convolution's bias.
        mean: batch norm's mean.
        variance: batch norm's variance, without epsilon.
        epsilon: added to the variance.
        gain: k.
        offset: b.
        scale: s, the multiplier in front of the clip, above 0.

    Raises:
        ValueError: a number is not finite, a variance or epsilon negative, or scale not above 0.
    """

    step: Fraction
    bias: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    epsilon: float
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    scale: float

    def __post_init__(self) -> None:
        numbers = [self.bias, self.mean, self.variance, self.gain, self.offset]
        finite = all(np.isfinite(one).all() for one in numbers)
        finite &= 0 <= self.epsilon < np.inf
        if not finite or (self.variance < 0).any() or not self.scale > 0:
            raise ValueError(DIVERGED)


def fold(channels: Channels, bounds: NDArray[np.int64], *, bits: int) -> NDArray[np.int32]:
    """Return the smallest sum that reaches each level of each channel.

    Args:
        channels: the numbers of one layer.
        bounds: B, the largest |S| that each channel can have, (channels,).
        bits: the bits of the layer's features, 1 to 8.

    Returns:
        int32, (channels, 2^bits - 1), rising along the levels, in [-B, B + 1]: -B if the level is
        always reached, B + 1 if it never is.
    """
    levels = 2**bits - 1
    proposed, doubt = _propose(channels, levels)
    limits = bounds[:, None].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # an overflow is recomputed in fractions
        apart = np.abs(proposed - np.round(proposed)) > doubt
        outside = np.abs(proposed) > limits + 2 + doubt
    sure = (apart | outside) & np.isfinite(proposed) & np.isfinite(doubt)
    thresholds = np.clip(np.ceil(np.where(sure, proposed, 0)), -limits, limits + 1).astype(np.int32)
    for channel, level in np.argwhere(~sure):
        half = Fraction(2 * int(level) + 1, 2 * levels)
        thresholds[channel, level] = _search(channels, channel, half, int(bounds[channel]))
    return thresholds


def _propose(channels: Channels, levels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, in float64, the real number that each threshold rounds up, with an error bound."""
    offset = channels.offset[:, None]
    with np.errstate(all="ignore"):
        halves = (np.arange(1, levels + 1) - 0.5) / levels / channels.scale
        spread = np.sqrt(channels.variance + channels.epsilon) / (np.abs(channels.gain) + 1)
        step = np.float64(float(channels.step))
        centre = (channels.mean - channels.bias)[:, None]
        proposed = (centre + (halves - offset) * spread[:, None]) / step
        size = (np.abs(channels.mean) + np.abs(channels.bias))[:, None]
        size = size + (halves + np.abs(offset)) * spread[:, None]
        doubt = size / step * _DOUBT
    return proposed, doubt


def _search(channels: Channels, channel: int, half: Fraction, bound: int) -> int:
    """Bisect for the smallest sum in [-bound, bound + 1] that reaches a level, in fractions."""
    scale = Fraction(channels.scale)
    gain = abs(Fraction(float(channels.gain[channel]))) + 1
    ratio = (half - scale * Fraction(float(channels.offset[channel]))) / (scale * gain)
    start = Fraction(float(channels.mean[channel])) - Fraction(float(channels.bias[channel]))
    variance = Fraction(float(channels.variance[channel])) + Fraction(channels.epsilon)
    low, high = -bound, bound + 1
    while low < high:
        middle = (low + high) // 2
        if _at_least(channels.step * middle - start, ratio, variance):
            high = middle
        else:
            low = middle + 1
    return low


def _at_least(value: Fraction, ratio: Fraction, variance: Fraction) -> bool:
    """Whether value >= ratio * sqrt(variance), exactly."""
    return value * abs(value) >= ratio * abs(ratio) * variance  # since x |x| rises with x
