"""Compiles the C kernel; imports only the standard library, as the build hook runs it alone."""

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

GRADIENTS = ("weight_gradient.c", "input_gradient.c", "wide.c")
_NAMES = ("kernel.c", "levels.c", "sums.c", "training.c", *GRADIENTS)
SOURCES = tuple(Path(__file__).with_name(name) for name in _NAMES)
LIBRARY = Path(__file__).with_name("_kernel.so")
# Contraction would fuse multiplications and additions on some processors and not on others;
# input_gradient.c turns it back on for itself. GCC vectorizes loops over floats only if they need
# not preserve floating-point exceptions.
_FLAGS = (
    *("-O3", "-std=c11", "-fPIC", "-shared"),
    *("-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"),
)


@cache
def source_version() -> int:
    """Return a checksum of sources and flags, which a compiled library must match."""
    sources = sorted(Path(__file__).parent.glob("*.[ch]"))
    parts = [*(path.read_bytes() for path in sources), " ".join(_FLAGS).encode()]
    digest = hashlib.sha256(b"".join(parts)).digest()
    return int.from_bytes(digest[:4]) >> 1  # fits a C int


def compile_kernel(
    target: Path = LIBRARY, *, sources: Sequence[Path] = SOURCES, flags: Sequence[str] = ()
) -> str | None:
    """Compile the kernel with ``$CC``, cc, gcc or clang.

    Args:
        target: the shared library, which is replaced atomically.
        sources: the C files to compile, by default the kernel's.
        flags: additional flags for the compiler.

    Returns:
        None, or the reason why there is no library, which is optional.
    """
    try:
        chosen = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        return f"$CC cannot be read ({error})"
    named = [chosen, ["cc"], ["gcc"], ["clang"]]
    compiler = next((one for one in named if one and shutil.which(one[0])), None)
    if compiler is None:
        return "there is no C compiler"
    try:
        handle, partial = tempfile.mkstemp(dir=target.parent, suffix=".so")
    except OSError as error:
        return f"{target.parent} cannot be written ({error.strerror})"
    os.close(handle)
    options = [*_FLAGS, f"-DBITSTILL_VERSION={source_version()}", *flags]
    command = [*compiler, *options, *map(str, sources), "-o", partial, "-lm"]
    try:
        for less in ([], ["-DBITSTILL_WITHOUT_AMX"]):  # the assembler may be too old for AMX
            done = subprocess.run([*command, *less], capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode == 0:
                break
        else:
            return f"{shlex.join(compiler)} failed: {done.stderr.strip()[:400]}"
        Path(partial).chmod(0o755)
        Path(partial).replace(target)
    except OSError as error:
        return f"{shlex.join(compiler)} failed: {error}"
    finally:
        Path(partial).unlink(missing_ok=True)
    return None
