"""The C kernels under sanitizers, and their compiler."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.sanitized import sanitized

from bitstill.engine import kernel
from bitstill.engine.compiler import GRADIENTS, SOURCES, compile_kernel

ENGINE = SOURCES[0].parent
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def compiled(name: str, folder: Path, *beside: str) -> Path:
    """Compile a program of this folder, which includes a kernel's source.

    With fused additions where the processor has them, as the engine's own clones take them.
    """
    sources = [Path(__file__).with_name(name), *(ENGINE / one for one in beside)]
    return sanitized(folder / "kernel", sources, "-std=c11", "-ffp-contract=off", f"-I{ENGINE}")


def run(program: Path, *arguments: str) -> None:
    done = subprocess.run(  # noqa: S603
        [program, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "sound\n"), done.stderr


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("sanitized.c", tmp_path_factory.mktemp("engine"), "sums.c")


@pytest.mark.parametrize("classes", [1, 10, 16, 37])
def test_the_engine_reads_and_writes_nothing_outside(engine: Path, classes: int) -> None:
    run(engine, str(classes))


def test_training_reads_and_writes_nothing_outside(tmp_path: Path) -> None:
    run(compiled("sanitized_training.c", tmp_path, "sums.c", *GRADIENTS))


@needs_compiler
def test_a_compiler_that_fails_is_no_error(tmp_path: Path) -> None:
    assert "failed" in str(compile_kernel(tmp_path / "kernel.so", flags=["-fno-such-flag"]))
    assert list(tmp_path.iterdir()) == []


def test_no_compiler_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "kernel.so"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert compile_kernel(target) == "there is no C compiler"
    assert list(tmp_path.iterdir()) == []


@needs_compiler
def test_a_folder_that_takes_no_library_is_no_error(tmp_path: Path) -> None:
    reason = compile_kernel(tmp_path / "nowhere" / "kernel.so")
    assert reason == f"{tmp_path / 'nowhere'} cannot be written (No such file or directory)"


@needs_compiler
def test_a_compiler_may_come_with_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -fno-such-flag")
    assert "cc -fno-such-flag failed" in str(compile_kernel(tmp_path / "kernel.so"))


@needs_compiler
def test_a_compiler_that_cannot_make_amx_makes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As GCC 11 with binutils 2.34, whose assembler knows no tiles."""
    compiler, target = tmp_path / "compiler", tmp_path / "kernel.so"
    compiler.write_text('#!/bin/sh\ncase "$*" in *WITHOUT_AMX*) exec cc "$@";; esac\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert compile_kernel(target) is None
    paths = kernel.available(target)
    assert "portable" in paths
    assert "amx" not in paths


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [("gcc 'unclosed", "$CC cannot be read (No closing quotation)"), ("{}", "Exec format error")],
)
def test_a_compiler_that_is_none_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, reason: str
) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF and no more")
    program.chmod(0o755)
    monkeypatch.setenv("CC", compiler.format(program))
    assert reason in str(compile_kernel(tmp_path / "kernel.so"))
    assert list(tmp_path.iterdir()) == [program]


def test_a_library_is_for_all_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an installation by root: a temporary file is its owner's alone."""
    compiler, target = tmp_path / "compiler", tmp_path / "kernel.so"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho made > "$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert compile_kernel(target) is None
    assert target.read_text() == "made\n"
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_library_of_other_sources_is_not_used(
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = Path(shutil.copy(library, tmp_path / "kernel.so"))
    assert kernel.available(target) != ()
    monkeypatch.setattr(kernel, "source_version", lambda: 0)
    assert kernel.available(target) == ()
    assert kernel.available(target) == ()
    [said] = caplog.messages
    assert said == f"{target} is of other sources, and slower code runs: install bitstill again"


def test_a_library_that_cannot_be_loaded_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "kernel.so"
    assert kernel.available(target) == ()
    target.write_bytes(b"\x7fELF of another machine")
    assert kernel.available(target) == kernel.available(target) == ()
    [said] = caplog.messages
    assert said == f"{target} cannot be loaded here, and slower code runs: install bitstill again"
