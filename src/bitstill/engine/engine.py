"""A deployed model that predicts."""

import operator
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pickle import UnpicklingError
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bitstill.engine import kernel
from bitstill.engine.layout import IMAGE_BYTES, lay_out
from bitstill.engine.packed import PackedModel
from bitstill.engine.planes import Bytes
from bitstill.engine.threads import parts, pool
from bitstill.errors import UserError, one_line
from bitstill.topology import SIDE

BACKENDS = ("c", "numba")
_WORTH_SPLITTING = 8  # images per thread: a third of a millisecond of work


class Backend(Protocol):
    """Computes logits for an engine."""

    name: str

    def run(self, images: Bytes, logits: NDArray[np.float32]) -> None:
        """Fill logits (N, classes) for images (N, 3072), both contiguous."""

    def levels(self, image: Bytes) -> list[Bytes]:
        """Return every layer's levels after its pool, (side, side, channels), for one image."""


def _backend(model: PackedModel, wanted: str | None) -> Backend:
    if wanted not in (None, *BACKENDS):
        raise UserError(f"backend = {wanted!r} is unknown: choose c or numba")
    if not has_tables(model.weight_bits, activation_bits=model.activation_bits):
        if wanted == "c":
            raise UserError(
                "backend = c takes weights of 1 or 2 bits and 1-bit features: choose numba"
            )
        return _in_numba("general", lambda module: module.General(model))
    if wanted != "numba" and kernel.available():
        return kernel.Kernel(lay_out(model))
    if wanted == "c":
        raise UserError(
            "backend = c was not built: install bitstill again with a C compiler; "
            "pip install -v says why not"
        )
    return _in_numba("tables", lambda module: module.Tables(lay_out(model)))


def has_tables(weight_bits: int, *, activation_bits: int) -> bool:
    """Whether the fast engines, with sums by table, can run a student."""
    return weight_bits <= 2 and activation_bits == 1


def _in_numba(name: str, make: Callable[[Any], Backend]) -> Backend:
    """Make a backend from a numba module, and compile it or load it from the cache."""
    try:
        module = import_module(f"bitstill.engine.{name}")
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install {error.name}") from error
    except ImportError as error:  # numba supports only some versions of NumPy
        reason = f"numba cannot be used ({one_line(error)})"
        raise UserError(f"{reason}: install bitstill again") from error
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        raise UserError(
            "numba has no folder to keep compiled code in: set NUMBA_CACHE_DIR to a writable one"
        ) from error
    backend = make(module)
    try:
        backend.levels(np.zeros(IMAGE_BYTES, np.uint8))
    except (EOFError, UnpicklingError) as error:  # a truncated file, as after a power failure
        kept = next(one.stats.cache_path for one in vars(module).values() if hasattr(one, "stats"))
        raise UserError(
            f"what numba keeps in {kept} is damaged: remove its files *.nbi and *.nbc"
        ) from error
    return backend


class Engine:
    """Predicts with a packed model; can be pickled, and an unpickled copy makes its own backend.

    Args:
        model: the packed model.
        threads: how many threads share a batch; a small batch runs in the caller's thread alone.
        backend: ``c`` or ``numba``; None chooses the fastest that is available.
    """

    def __init__(self, model: PackedModel, *, threads: int = 1, backend: str | None = None) -> None:
        try:
            allowed = operator.index(threads) >= 1
        except TypeError:
            allowed = False
        if not allowed:
            raise UserError(f"threads = {threads!r} is not allowed: give a whole number from 1")
        self.model, self._threads, self._wanted = model, threads, backend
        self.backend = _backend(model, backend)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the backend out of a pickle, since it holds addresses of this process."""
        return partial(Engine, threads=self._threads, backend=self._wanted), (self.model,)

    def logits(self, images: Any) -> NDArray[np.float32]:
        """Return logits, float32, (N, classes).

        Args:
            images: uint8, (N, 32, 32, 3), 0..255; an array, or anything NumPy can convert to one.

        Raises:
            ValueError: the images have another type or shape.
        """
        rows = _checked(images)
        logits = np.empty((len(rows), len(self.model.classes)), np.float32)
        if self._threads == 1 or len(rows) < _WORTH_SPLITTING * self._threads:
            self.backend.run(rows, logits)
            return logits
        mine, *rest = [slice(*part) for part in parts(len(rows), self._threads)]
        submit = pool(self._threads - 1).submit
        others = [submit(self.backend.run, rows[part], logits[part]) for part in rest]
        self.backend.run(rows[mine], logits[mine])
        for other in others:
            other.result()
        return logits

    def predict(self, images: Any) -> NDArray[np.int64]:
        """Return the index of each image's class, int64, (N,); arguments as for ``logits``."""
        labels: NDArray[np.int64] = self.logits(images).argmax(axis=1)
        return labels

    def levels(self, image: Any) -> list[Bytes]:
        """Return what each layer computes from one image (32, 32, 3), for inspection.

        Returns:
            For each layer uint8, (side, side, channels), after its pool: bits or levels.
        """
        return self.backend.levels(_checked(np.asarray(image)[None])[0])


def _checked(images: Any) -> Bytes:
    """Return images as contiguous rows (N, 3072)."""
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != (SIDE, SIDE, 3):
        raise ValueError(
            f"images are {array.dtype} {array.shape}: give uint8 (N, {SIDE}, {SIDE}, 3), "
            "channels last, 0..255"
        )
    return np.ascontiguousarray(array).reshape(len(array), IMAGE_BYTES)
