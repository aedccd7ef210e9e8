"""The benchmark says what it should; how fast things are is not tested."""

import ctypes
import shutil

import pytest
from tests.students import random_student

from bitstill.bench import deploy
from bitstill.bench.deploy import YARDSTICK, bench
from bitstill.bench.paired import as_table
from bitstill.engine import kernel
from bitstill.errors import UserError
from bitstill.integer import integer_network
from bitstill.packing import pack


@pytest.mark.slow
def test_the_report() -> None:
    report = bench(rounds=3, threads=(1,), batches=(1, 64))
    assert report.facts["packed, bytes"] <= 80_000
    assert {one.settings["batch"] for one in report.timings} == {1, 64}
    engines = {"numba", *(f"C ({path})" for path in kernel.available())}
    if any(map(shutil.which, ("cc", "gcc", "clang"))):
        engines.add("export --format c")
    assert {one.subject for one in report.timings} == {YARDSTICK, "onnxruntime int8", *engines}
    table = as_table(report)
    assert "| 1 | 64 | numba |" in table
    assert "the same classes from every runtime of the student: yes" in table


def test_without_a_compiler_the_exported_c_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "compile_kernel", lambda *_, **__: "there is no C compiler")
    assert deploy._exported(pack(integer_network(random_student()))) is None


def test_without_its_extra_the_yardstick_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"^onnx is not installed: pip install 'bitstill\[onnx\]'$"):
        bench(rounds=1)


def test_where_temporary_files_cannot_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise OSError(f"{path}: failed to map segment from shared object")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert deploy._exported(pack(integer_network(random_student()))) is None
