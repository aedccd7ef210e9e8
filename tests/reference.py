"""A layer of the networks in NumPy, in float64."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
EPSILON = 1e-3  # of batch norm


def numpy(tensor: Tensor | None) -> Array:
    """Of a tensor that is there."""
    assert tensor is not None
    return np.array(tensor.detach().numpy(), dtype=np.float64)


def convolve(x: Array, weight: Array, bias: Array) -> Array:
    """3x3, stride 1, 'same' padding: a sum over windows."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))  # (N, C, H, W, 3, 3)
    sums = np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3]))  # (N, H, W, out)
    return np.asarray(sums.transpose(0, 3, 1, 2) + bias[:, None, None])


def two_bits(raw: Array) -> Array:
    """mean_scaled at two bits: borders at -2/3, 0, 2/3 of mean|w|."""
    w = np.tanh(raw)
    size = np.abs(w).mean()
    for border in (-2 / 3, 0, 2 / 3):
        assert np.abs(w / size - border).min() > 1e-7  # so float32 decides alike
    codes = np.digitize(w / size, [-2 / 3, 0, 2 / 3])
    return np.asarray(size * np.array([-1, -1 / 3, 1 / 3, 1])[codes])


def moments(x: Array) -> tuple[Array, Array]:
    """Mean and population variance of each channel."""
    return x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))


def normalize(x: Array, mean: Array, variance: Array) -> Array:
    """Batch norm without scale and shift."""
    return np.asarray((x - mean[:, None, None]) / np.sqrt(variance[:, None, None] + EPSILON))


def max_pool(x: Array) -> Array:
    """The largest of each 2x2."""
    n, c, h, w = x.shape
    return np.asarray(x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5)))
