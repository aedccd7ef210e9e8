"""A packed student, and engines for it."""

import platform
from pathlib import Path

import pytest
from tests.conftest import once_for_all_workers
from tests.students import random_student

from bitstill.engine import kernel
from bitstill.engine.compiler import compile_kernel
from bitstill.engine.layout import lay_out
from bitstill.engine.packed import PackedModel
from bitstill.integer import IntegerNetwork, integer_network
from bitstill.packing import pack


@pytest.fixture(scope="session")
def network() -> IntegerNetwork:
    return integer_network(random_student(7))


@pytest.fixture(scope="session")
def packed(network: IntegerNetwork) -> PackedModel:
    return pack(network)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C kernel, compiled for the tests; they are left out where there is no compiler."""
    # On other processors some arguments have no use, and clang does not know all of GCC's pragmas.
    strict = ["-Werror"] if platform.machine() == "x86_64" else []

    def compiled(folder: Path) -> None:
        reason = compile_kernel(folder / "kernel.so", flags=["-Wall", "-Wextra", *strict])
        if reason == "there is no C compiler":
            pytest.skip(reason)
        assert reason is None, reason

    return once_for_all_workers(tmp_path_factory, "kernel", compiled) / "kernel.so"


@pytest.fixture
def kernels(library: Path, packed: PackedModel) -> list[kernel.Kernel]:
    paths = kernel.available(library)
    return [kernel.Kernel(lay_out(packed), path, library) for path in paths]
