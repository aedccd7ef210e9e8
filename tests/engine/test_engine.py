"""Every engine against the integer network: every level of every layer, and every logit's bits."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.students import random_images, random_student, with_bits

import bitstill
from bitstill.engine import compiled, kernel, tables
from bitstill.engine.engine import Backend, Engine, _in_numba
from bitstill.engine.general import General
from bitstill.engine.layout import lay_out
from bitstill.engine.packed import PackedLayer, PackedModel, to_bytes
from bitstill.engine.tables import Tables
from bitstill.engine.threads import pool
from bitstill.errors import UserError
from bitstill.integer import IntegerNetwork, integer_network
from bitstill.packing import pack, unpack
from bitstill.topology import TOPOLOGY


def agrees(backend: Backend, network: IntegerNetwork, images: torch.Tensor) -> None:
    rows = images.numpy().reshape(len(images), -1)
    logits = np.full((len(rows), len(network.bias)), np.nan, np.float32)
    backend.run(rows, logits)
    assert np.array_equal(logits, network(images).numpy())
    reference = [one.permute(0, 2, 3, 1).numpy() for one in network.levels(images)]
    for number, row in enumerate(rows):
        for found, expected in zip(backend.levels(row), reference, strict=True):
            assert np.array_equal(found, expected[number])


def test_a_student_in_float64_is_deployed_in_float32() -> None:
    student = random_student(3)
    images = random_images(4)
    expected = Engine(pack(integer_network(student))).logits(images)
    found = Engine(pack(integer_network(student.double()))).logits(images)
    assert np.array_equal(found, expected)


def test_numba_equals_the_reference(packed: PackedModel, network: IntegerNetwork) -> None:
    agrees(Tables(lay_out(packed)), network, random_images(6))


def test_c_equals_the_reference(kernels: list[kernel.Kernel], network: IntegerNetwork) -> None:
    assert "portable" in [one.path for one in kernels]
    for one in kernels:
        agrees(one, network, random_images(6))


@pytest.mark.parametrize("negative", range(len(TOPOLOGY)))
def test_no_sum_is_too_large(library: Path, packed: PackedModel, negative: int) -> None:
    """All features 1 and all weights outermost, up to a layer where they are below zero."""
    layers = []
    for number, (layer, one) in enumerate(zip(TOPOLOGY, packed.layers, strict=True)):
        largest = 27 * layer.channels_in * (255 if number == 0 else 1)
        planes = np.full_like(one.planes, 0 if number == negative else 255)
        limit = -largest + 1 if number == negative else largest // 3
        layers.append(PackedLayer(planes, np.full_like(one.thresholds, limit)))
    model = replace(packed, layers=tuple(layers))
    layout = lay_out(model)
    backends: list[Backend] = [Tables(layout)]
    backends += [kernel.Kernel(layout, path, library) for path in kernel.available(library)]
    for backend in backends:
        agrees(backend, unpack(model), random_images(2))


@pytest.mark.slow
@given(seed=st.integers(0, 2**31), method=st.sampled_from(["mean_scaled", "dorefa"]))
@settings(max_examples=3)
def test_random_students(library: Path, seed: int, method: str) -> None:
    classes = 1 + seed % 40
    network = integer_network(random_student(seed, with_bits(2, 1, method), classes))
    layout = lay_out(pack(network))
    images = random_images(4, seed)
    agrees(Tables(layout), network, images)
    for path in kernel.available(library):
        agrees(kernel.Kernel(layout, path, library), network, images)


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits"), [(1, 2), (3, 1), (2, 2), (4, 3), (8, 8)]
)
def test_other_bits(weight_bits: int, activation_bits: int) -> None:
    network = integer_network(random_student(1, with_bits(weight_bits, activation_bits)))
    model = pack(network)
    agrees(General(model), network, random_images(3))
    engine = Engine(model)
    assert engine.backend.name == "numba (any bits)"
    with pytest.raises(UserError, match="backend = c takes weights of 1 or 2 bits and 1-bit"):
        Engine(model, backend="c")


@pytest.mark.parametrize("method", ["mean_scaled", "dorefa"])
def test_weights_of_one_bit_are_the_outer_two_of_two(library: Path, method: str) -> None:
    network = integer_network(random_student(2, with_bits(1, 1, method)))
    model, images = pack(network), random_images(6)
    layout = lay_out(model)
    agrees(General(model), network, images)
    agrees(Tables(layout), network, images)
    for path in kernel.available(library):
        agrees(kernel.Kernel(layout, path, library), network, images)
    engine = Engine(model)
    assert engine.backend.name != "numba (any bits)"
    assert np.array_equal(engine.logits(images.numpy()), network(images).numpy())
    assert engine.model.weight_bits == 1


def test_threads_do_not_matter(packed: PackedModel) -> None:
    images = random_images(37).numpy()
    one = Engine(packed).logits(images)
    engine = Engine(packed, threads=3)
    assert np.array_equal(engine.logits(images), one)
    assert engine.predict(images).tolist() == one.argmax(axis=1).tolist()
    for wrong in (0, 2.0, "2", None):
        line = rf"^threads = {wrong!r} is not allowed: give a whole number from 1$"
        with pytest.raises(UserError, match=line):
            Engine(packed, threads=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 2])
def test_a_fork_predicts_too(packed: PackedModel, count: int) -> None:
    """As servers do that load a model once: threads stay with the process that began them."""
    engine, images = Engine(packed, threads=count), random_images(32).numpy()
    expected = engine.logits(images)
    # Another thread may be handing work over, with the pool locked.
    locks = [pool(count - 1)._shutdown_lock] if count > 1 else []
    with warnings.catch_warnings(), ExitStack() as held:
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        for lock in locks:
            held.enter_context(lock)
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if np.array_equal(engine.logits(images), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_engine_goes_to_another_process(packed: PackedModel) -> None:
    engine, images = Engine(packed, threads=2), random_images(37).numpy()
    pickled = pickle.loads(pickle.dumps(engine))  # noqa: S301  # our own
    for other in (pickled, copy.deepcopy(engine)):
        assert np.array_equal(other.logits(images), engine.logits(images))
        assert (other.backend.name, other._threads) == (engine.backend.name, 2)


def test_numba_may_have_no_place_for_its_cache(
    packed: PackedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(name: str) -> None:
        raise RuntimeError("cannot cache function 'f': no locator available for file 'x.py'")

    monkeypatch.setattr("bitstill.engine.engine.import_module", none)
    with pytest.raises(UserError, match="set NUMBA_CACHE_DIR to a writable one"):
        Engine(packed, backend="numba")


@pytest.mark.slow
def test_a_cache_of_numba_that_was_cut_short_is_said(tmp_path: Path) -> None:
    """As by a loss of power."""
    model = tmp_path / "student.bitstill"
    model.write_bytes(to_bytes(pack(integer_network(random_student(1, with_bits(3, 2))))))
    command = [sys.executable, "-c", f"import bitstill; bitstill.load({str(model)!r})"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def said() -> str:
        done = subprocess.run(  # noqa: S603
            command, env=environment, capture_output=True, text=True, check=False
        )
        return done.stderr

    assert said() == ""
    for ending in ("nbi", "nbc"):
        files = list((tmp_path / "cache").rglob(f"general._convolve*.{ending}"))
        whole = [file.read_bytes() for file in files]
        for file in files:
            file.write_bytes(b"")
        line = said().splitlines()[-1]
        assert "is damaged: remove its files *.nbi and *.nbc" in line
        assert str(tmp_path / "cache") in line
        for file, content in zip(files, whole, strict=True):
            file.write_bytes(content)


def test_what_numba_keeps_is_of_this_code() -> None:
    """It looks at a function's own file alone, and other files are compiled into it."""
    [kept] = [one for one in vars(tables).values() if getattr(one, "__name__", "") == "run"]
    assert kept.py_func.__qualname__ == f"run_{compiled._version()}"
    assert len(compiled._version()) == 10


def test_input_is_checked(packed: PackedModel) -> None:
    engine = Engine(packed)
    good = random_images(2).numpy()
    for wrong in (good[0], good.astype(np.float32), good.transpose(0, 3, 1, 2), [[1, 2]]):
        with pytest.raises(ValueError, match=r"give uint8 \(N, 32, 32, 3\), channels last"):
            engine.predict(wrong)
    assert engine.predict(good[:0]).shape == (0,)
    backwards = good[::-1]  # not contiguous
    assert np.array_equal(engine.logits(backwards), engine.logits(good)[::-1])
    assert np.array_equal(engine.logits(torch.from_numpy(good)), engine.logits(good))
    assert [one.shape for one in engine.levels(good[0])][::3] == [
        (16, 16, 16),
        (8, 8, 64),
        (4, 4, 128),
    ]


def test_a_backend_that_is_not_there(packed: PackedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "available", lambda: ())
    assert Engine(packed).backend.name == "numba"
    with pytest.raises(UserError, match="was not built: install bitstill again with a C compiler"):
        Engine(packed, backend="c")
    with pytest.raises(UserError, match="backend = 'rust' is unknown: choose c or numba"):
        Engine(packed, backend="rust")


@pytest.mark.parametrize(("paths", "taken"), [(("portable",), "C"), ((), "numba")])
def test_c_is_taken_where_it_is(
    packed: PackedModel, monkeypatch: pytest.MonkeyPatch, paths: tuple[str, ...], taken: str
) -> None:
    monkeypatch.setattr(kernel, "available", lambda: paths)
    monkeypatch.setattr(
        "bitstill.engine.engine._in_numba", lambda *_: SimpleNamespace(name="numba")
    )
    monkeypatch.setattr(kernel, "Kernel", lambda *_: SimpleNamespace(name="C"))
    assert Engine(packed).backend.name == taken
    assert Engine(packed, backend="numba").backend.name == "numba"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ImportError("Numba needs NumPy 2.3"), r"^numba cannot be used \(Numba needs NumPy 2\.3"),
        (ModuleNotFoundError(name="numba"), "^numba is not installed: pip install numba$"),
    ],
)
def test_a_numba_that_cannot_be_imported(
    packed: PackedModel, monkeypatch: pytest.MonkeyPatch, error: ImportError, line: str
) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr("bitstill.engine.engine.import_module", fail)
    with pytest.raises(UserError, match=line):
        Engine(packed, backend="numba")


@pytest.mark.parametrize("error", [EOFError, pickle.UnpicklingError])
def test_what_numba_keeps_may_be_damaged(error: type[Exception]) -> None:
    def cut_short(image: object) -> None:
        raise error("cut short")

    backend: Any = SimpleNamespace(levels=cut_short)
    with pytest.raises(UserError, match=r"^what numba keeps in /\S+ is damaged: remove its files"):
        _in_numba("tables", lambda _: backend)


def test_loading_needs_no_torch(packed: PackedModel, tmp_path: Path) -> None:
    file = tmp_path / "student.bitstill"
    file.write_bytes(to_bytes(packed))
    code = (
        "import sys, numpy, bitstill; print('numba' in sys.modules, 'numpy' in sys.modules);"
        f"engine = bitstill.load({str(file)!r}, threads=2);"
        "print(engine.predict(numpy.zeros((1, 32, 32, 3), numpy.uint8)).shape);"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:3] == ["False True", "(1,)", "False"]
    assert bitstill.load(file).model.classes == packed.classes


ALONE = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        known = {"bitstill", "numpy", "safetensors", *sys.stdlib_module_names}
        return PathFinder.find_spec(name, path) if name.partition(".")[0] in known else None

sys.meta_path = [BuiltinImporter, FrozenImporter, Installed]
import numpy, bitstill
engine = bitstill.load(sys.argv[1], threads=2)
print(engine.backend.name, engine.predict(numpy.zeros((64, 32, 32, 3), numpy.uint8)).shape)
"""


@pytest.mark.skipif(not kernel.available(), reason="there is no C kernel")
def test_predicting_takes_two_packages(packed: PackedModel, tmp_path: Path) -> None:
    """What docs/deploy.md says of a place that only predicts."""
    file = tmp_path / "student.bitstill"
    file.write_bytes(to_bytes(packed))
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", ALONE, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("C (")
    assert done.stdout.endswith("(64,)\n")
