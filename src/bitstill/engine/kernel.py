"""The engine in C, through ctypes; available if there was a compiler at installation."""

import ctypes
import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstill.engine.compiler import LIBRARY, source_version
from bitstill.engine.layout import Layout, address, aligned, feature_bits
from bitstill.engine.planes import Bytes

log = logging.getLogger(__name__)

# Fastest first: the first one that the processor supports is used.
PATHS = {"amx": 8, "avx512": 4, "avx2": 2, "portable": 1}


class _Model(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_void_p)
        for name in (
            *("first", "first_thresholds", "prepared"),
            *("thresholds", "classifier", "bias"),
        )
    )


@lru_cache
def load_library(path: Path) -> ctypes.CDLL:
    """Return the library, loaded once per process."""
    library = ctypes.CDLL(str(path))
    pointer = ctypes.c_void_p
    library.bitstill_run.argtypes = [
        *(ctypes.c_int, ctypes.POINTER(_Model), pointer, ctypes.c_int64, ctypes.c_int),
        *(pointer, pointer),
    ]
    library.bitstill_prepare.argtypes = [ctypes.c_int, pointer, pointer]
    number = ctypes.c_float
    library.bitstill_levels.argtypes = [pointer, ctypes.c_int64, number, number, pointer]
    library.bitstill_levels.restype = None
    return library


def available(library: Path = LIBRARY) -> tuple[str, ...]:
    """Return the paths that both the library and this processor support, fastest first."""
    if not library.exists():
        return ()
    try:
        loaded = load_library(library)
        if loaded.bitstill_version() != source_version():
            _warn_of(library, "is of other sources")
            return ()
        found = loaded.bitstill_paths()
    except (OSError, AttributeError):  # built for another machine, or not this library at all
        _warn_of(library, "cannot be loaded here")
        return ()
    return tuple(name for name, bit in PATHS.items() if found & bit)


@lru_cache
def _warn_of(library: Path, what: str) -> None:
    log.warning("%s %s, and slower code runs: install bitstill again", library, what)


@lru_cache
def levels_function() -> Callable[..., None] | None:
    """Return the function that quantizes a layer's weights (``levels.c``); None if not built.

    It takes the address of the weights, their count, the span, the number of levels less one, and
    the address of the result; weights and result are float32.
    """
    return load_library(LIBRARY).bitstill_levels if available() else None


class Kernel:
    """Runs a layout in C.

    Args:
        layout: the model's layout.
        path: one of :func:`available`; None chooses the fastest.
        library: the compiled kernel.
    """

    def __init__(self, layout: Layout, path: str | None = None, library: Path = LIBRARY) -> None:
        self.path = path or available(library)[0]
        self.name = f"C ({self.path})"
        self._run = load_library(library).bitstill_run
        self._classes = len(layout.bias)
        first = layout.first.reshape(16, 9, 4).transpose(1, 0, 2)
        self._arrays: tuple[NDArray[Any], ...] = (  # kept alive, since the library reads them
            *(np.ascontiguousarray(first), layout.first_thresholds),
            self._prepared(layout, load_library(library)),
            *(layout.thresholds, layout.classifier, layout.bias),
        )
        self._model = _Model(*(array.ctypes.data for array in self._arrays))

    def _prepared(self, layout: Layout, library: ctypes.CDLL) -> Bytes:
        """Return the weights in the form that the path reads: tables of sums, or codes."""
        path, codes = PATHS[self.path], address(layout.codes)
        prepared = aligned(library.bitstill_prepare(path, codes, None))
        library.bitstill_prepare(path, codes, address(prepared))
        return prepared

    def run(
        self,
        images: Bytes,
        logits: NDArray[np.float32],
        scratch: NDArray[np.uint32] | None = None,
    ) -> None:
        """Fill logits (N, classes) for images (N, 3072), both contiguous; releases the GIL."""
        failed = self._run(
            PATHS[self.path],
            self._model,
            address(images),
            len(images),
            self._classes,
            address(logits),
            None if scratch is None else address(scratch),
        )
        if failed:
            raise RuntimeError(f"this processor cannot run the {self.path} path")

    def levels(self, image: Bytes) -> list[Bytes]:
        """Return every layer's bits, (side, side, channels), for an image (3072,)."""
        return feature_bits(self.run, image, self._classes)
