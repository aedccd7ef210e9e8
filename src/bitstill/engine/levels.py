"""A layer's quantized weights in C, through ctypes: ``levels.c`` says how.

There only where a compiler was at installation; :mod:`bitstill.quantizers` does without.
"""

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from bitstill.engine.compiler import LIBRARY
from bitstill.engine.kernel import available, load_library


@lru_cache
def levels_function() -> Callable[..., Any] | None:
    """Return a function of weights' address, count, span, steps and the result's address, or None.

    Both addresses are of float32; ``steps`` is the number of levels less one.
    """
    if not available():
        return None
    function = load_library(LIBRARY).bitstill_levels
    number, pointer = ctypes.c_float, ctypes.c_void_p
    function.argtypes = [pointer, ctypes.c_int64, number, number, pointer]
    function.restype = None
    return function
