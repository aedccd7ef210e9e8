"""A student's block in training, in C through ctypes.

``training.c``, ``weight_gradient.c`` and ``input_gradient.c`` say what they compute; ``wide.c``
compiles the last two for AVX-512.

Available only if there was a compiler at installation; torch uses it through :mod:`bitstill.fused`.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitstill.engine.compiler import LIBRARY
from bitstill.engine.kernel import PATHS, available, load_library
from bitstill.engine.layout import SIDES, address, aligned
from bitstill.engine.threads import parts, pool
from bitstill.topology import SIDE, TOPOLOGY

COLOURS = 3
# Each block's input side, input channels and output channels.
_BLOCKS = {
    (side, layer.channels_in, layer.channels_out)
    for side, layer in zip((SIDE, *SIDES), TOPOLOGY, strict=False)
}
_GROUP = 16  # output channels whose weight gradients are summed at a time
_POINTS = 36  # points at which weights are evaluated for the input's gradient
_GRADIENTS = ("weights", "points", "input")  # the passes that are compiled for two vector widths


class Shape(NamedTuple):
    """The shape of a block's input and output, and its settings.

    Attributes:
        images: how many images the batch has.
        side: height and width of the block's input.
        channels_in: input channels of a layer of the topology.
        channels_out: output channels of the same layer.
        pool: whether the block ends with a 2x2 max pool.
    """

    images: int
    side: int
    channels_in: int
    channels_out: int
    pool: bool


class _Training(ctypes.Structure):
    _fields_ = (
        ("images", ctypes.c_int64),
        ("path", ctypes.c_int32),
        *((name, ctypes.c_int32) for name in Shape._fields[1:]),
        ("multiplier", ctypes.c_float),
        *((name, ctypes.c_double) for name in ("momentum", "epsilon")),
        *((name, ctypes.c_void_p) for name in ("x", "weight", "bias", "gain", "offset")),
        *((name, ctypes.c_void_p) for name in ("running_mean", "running_variance")),
        *((name, ctypes.c_void_p) for name in ("codes", "weights", "sums", "moments")),
        *((name, ctypes.c_void_p) for name in ("state", "table")),
        *((name, ctypes.c_void_p) for name in ("y", "y_gradient", "partial", "gradient")),
        *((name, ctypes.c_void_p) for name in ("products", "weight_gradient")),
        *((name, ctypes.c_void_p) for name in ("points", "x_gradient")),
        ("unit", ctypes.c_double),
    )


class _Library(NamedTuple):
    prepare: Callable[..., int]
    sums: Callable[..., int]
    normalize: Callable[..., int]
    activate: Callable[..., None]
    collect: Callable[..., None]
    reduce: Callable[..., None]
    gradient: Callable[..., None]
    weights: Callable[..., None]
    points: Callable[..., None]
    input: Callable[..., None]


@lru_cache
def _paths() -> tuple[str, ...]:
    return tuple(one for one in available() if one != "amx")  # amx yields bits, not sums


@lru_cache
def _library(path: str) -> _Library:
    """Return the library's functions for a path that :func:`available` names."""
    library = load_library(LIBRARY)
    block, number, pointer = ctypes.POINTER(_Training), ctypes.c_int64, ctypes.c_void_p
    wide = _GRADIENTS if path == "avx512" else ()
    kinds = {one: "wide" if one in wide else "block" for one in _Library._fields}
    functions = _Library(*(getattr(library, f"bitstill_{of}_{one}") for one, of in kinds.items()))
    for name, function in functions._asdict().items():
        function.argtypes = [block, number, number]
        if name in ("prepare", "normalize"):
            function.argtypes = [block]
    functions.reduce.argtypes = [block, pointer, pointer]  # type: ignore[attr-defined]
    return functions


class TrainingBlock:
    """The passes of one block over one batch; forward first, then backward.

    All arrays are passed by address, with channels innermost, and belong to the caller.

    Args:
        shape: shape of the block and its batch.
        multiplier: the factor in front of the clip, above 0.
        momentum: batch norm's momentum, the weight of this batch.
        epsilon: batch norm's epsilon.
        threads: number of threads; the result does not depend on it, bit for bit.
    """

    def __init__(
        self, shape: Shape, *, multiplier: float, momentum: float, epsilon: float, threads: int
    ) -> None:
        path = _paths()[0]
        self._call = _library(path)
        self._shape, self._threads = shape, threads
        images, side, channels_in, channels_out, _ = shape
        # Per output channel: 9 groups of 4 codes for an image, or 16 sums for every 4 inputs.
        weight_bytes = channels_out * (36 if channels_in == COLOURS else 9 * channels_in * 4)
        self._arrays: dict[str, NDArray[Any]] = {
            "codes": np.empty(9 * channels_in * channels_out, np.int8),
            "weights": aligned(weight_bytes),
            "sums": np.empty((images, side, side, channels_out), np.int16),
            "moments": np.empty((images, 2, channels_out), np.int64),
            "state": np.empty((2, channels_out), np.float64),
            "table": np.empty((6, channels_out), np.float32),
        }
        addresses = {name: address(array) for name, array in self._arrays.items()}
        numbers = {"multiplier": multiplier, "momentum": momentum, "epsilon": epsilon}
        self._block = _Training(images, PATHS[path], *shape[1:], **numbers, **addresses)

    def forward(self, **addresses: int) -> bool:
        """Fill y, and update the running statistics.

        Args:
            **addresses: of x (the image or the bits, as float32), the quantized weight, bias, gain,
                offset, running_mean, running_variance and y.

        Returns:
            Whether it succeeded: False, with y and the running statistics unchanged, if x does not
            consist of bits (of whole levels, for the image), or weights or statistics are not
            finite.
        """
        self._point(addresses)
        call, block = self._call, self._block
        images = self._shape.images
        if call.prepare(block) or self._share(call.sums, images) or call.normalize(block):
            return False
        self._share(call.activate, images)
        return True

    def backward(self, *, gain_gradient: int, offset_gradient: int, **addresses: int) -> None:
        """Fill the gradients of gain, of offset, and of the convolution's result.

        Args:
            gain_gradient: address, float32, (channels_out,).
            offset_gradient: likewise.
            **addresses: of y_gradient and gradient; and of x, weight and gain if they have moved.
        """
        images = self._shape.images
        partial = np.empty((images, 2, self._shape.channels_out), np.float32)
        self._point({**addresses, "partial": address(partial)})
        self._share(self._call.collect, images)
        self._call.reduce(self._block, gain_gradient, offset_gradient)
        self._share(self._call.gradient, images)

    def weights_backward(self, weight_gradient: int) -> None:
        """Fill the gradient of the weight, after ``backward``; not for the block that reads images.

        Args:
            weight_gradient: address, float32, (channels_out, channels_in, 3, 3), channels-last.
        """
        shape = self._shape
        products = np.empty(9 * shape.channels_in * shape.channels_out, np.float32)
        self._point({"products": address(products), "weight_gradient": weight_gradient})
        self._share(self._call.weights, shape.channels_out // _GROUP)

    def input_backward(self, x_gradient: int) -> None:
        """Fill the gradient of x, after ``backward``; not for the block that reads images.

        Args:
            x_gradient: address, float32, of x's shape.
        """
        shape = self._shape
        points = np.empty(_POINTS * shape.channels_in * shape.channels_out, np.float32)
        self._point({"points": address(points), "x_gradient": x_gradient})
        self._share(self._call.points, shape.channels_out)
        self._share(self._call.input, shape.images)

    def _point(self, addresses: dict[str, int]) -> None:
        for name, value in addresses.items():
            setattr(self._block, name, value)

    def _share(self, function: Callable[..., Any], count: int) -> bool:
        """Call a pass over ``count`` images or channel groups; return whether any part failed."""
        if self._threads == 1:
            return bool(function(self._block, 0, count))
        submit, shared = pool(self._threads).submit, list[Future[int]]()
        try:
            for part in parts(count, self._threads):
                shared.append(submit(function, self._block, *part))
            return any(one.result() for one in shared)
        finally:
            wait(shared)  # before an exception, as from a signal, frees their memory


def fits(shape: Shape) -> bool:
    """Return whether the library is available and computes blocks of this shape."""
    return training_available() and shape.images > 0 and shape[1:4] in _BLOCKS


def training_available() -> bool:
    """Return whether the library is available."""
    return bool(_paths())
