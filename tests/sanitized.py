"""Programs in C, compiled with sanitizers for the tests."""

import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

_NATIVE = "-march=native" if platform.machine() == "x86_64" else "-mcpu=native"


def sanitized(target: Path, sources: Sequence[Path], *flags: str) -> Path:
    """Compile a program for this processor, with all that it has; skip the test without a compiler.

    Args:
        target: the program.
        sources: its files.
        *flags: of the compiler, after ``-O2``.
    """
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    command = [compiler, "-O2", "-g1", _NATIVE, *flags]
    command += ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
    command += [*map(str, sources), "-o", str(target), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if "cannot find" in done.stderr:
        pytest.skip("the compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    return target
