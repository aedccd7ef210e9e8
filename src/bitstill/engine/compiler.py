"""Compile the C kernel. Only the standard library: the build hook runs this file on its own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_NAMES = ("kernel.c", "levels.c", "training.c", "weight_gradient.c", "input_gradient.c")
SOURCES = tuple(Path(__file__).with_name(name) for name in _NAMES)
LIBRARY = Path(__file__).with_name("_kernel.so")
# Contraction would fuse additions on some processors and not on others; loops over floats become
# vectors only where no floating-point exception is to be kept.
_FLAGS = (
    *("-O3", "-std=c11", "-fPIC", "-shared", "-fvisibility=default"),
    *("-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"),
)


def compile_kernel(target: Path = LIBRARY, *, flags: Sequence[str] = ()) -> str | None:
    """Compile the kernel with ``$CC``, cc, gcc or clang.

    Args:
        target: the shared library; it is replaced in one step.
        flags: more of the compiler's.

    Returns:
        None, or why there is no library: it is optional.
    """
    names = (os.environ.get("CC"), "cc", "gcc", "clang")
    compiler = next((found for name in names if name and (found := shutil.which(name))), None)
    if compiler is None:
        return "there is no C compiler"
    handle, partial = tempfile.mkstemp(dir=target.parent, suffix=".so")
    os.close(handle)
    command = [compiler, *_FLAGS, *flags, *map(str, SOURCES), "-o", partial, "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        Path(partial).unlink()
        return f"{compiler} failed: {done.stderr.strip()[:400]}"
    Path(partial).chmod(0o755)
    Path(partial).replace(target)
    return None
