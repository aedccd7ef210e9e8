"""The C kernel under sanitizers, and its compiler."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bitstill.engine.compiler import SOURCE, compile_kernel


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    target = tmp_path_factory.mktemp("sanitized") / "kernel"
    source = Path(__file__).with_name("sanitized.c")
    command = [compiler, "-O1", "-g", "-std=c11", "-ffp-contract=off", "-fno-sanitize-recover=all"]
    command += [
        "-fsanitize=address,undefined",
        f"-I{SOURCE.parent}",
        str(source),
        "-o",
        str(target),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if "cannot find" in done.stderr:
        pytest.skip("the compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize("classes", [1, 10, 16, 37])
def test_nothing_is_read_or_written_outside(program: Path, classes: int) -> None:
    done = subprocess.run(  # noqa: S603
        [program, str(classes)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "sound\n"), done.stderr


def test_a_compiler_that_fails_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "kernel.so"
    if shutil.which("cc") is not None:
        reason = compile_kernel(target, flags=["-fno-such-flag"])
        assert reason is not None
        assert "failed" in reason
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert compile_kernel(target) == "there is no C compiler"
    assert list(tmp_path.iterdir()) == []
