"""Damaged files, full disks, read-only folders: one clear line, nothing else lost, then on."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import read_only
from tests.faults.conftest import SWEPT

from bitstill.runs import RunPaths, read_record

pytestmark = pytest.mark.slow


def one_line(err: str) -> str:
    """Return the last line, which is the only one of ours, and no traceback."""
    assert "Traceback" not in err
    [line] = [line for line in err.splitlines() if line.startswith("bitstill: ")]
    return line


def contents(*directories: Path) -> dict[Path, bytes]:
    """Read the files of runs; Hydra writes its own anew at each start."""
    files = (path for directory in directories for path in directory.rglob("*"))
    return {
        path: path.read_bytes()
        for path in files
        if path.is_file() and path.parent.name != ".hydra" and path.name != "train.log"
    }


def flip(path: Path) -> None:
    """Change a byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def stored(place: Any) -> RunPaths:
    [directory] = [path for path in (place.folder / "teachers").iterdir() if path.is_dir()]
    return RunPaths(directory)


def cut(path: Path) -> bytes:
    """Leave a file half its content, which is returned."""
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    return half


def test_a_record_that_is_cut_in_half(done: Any, undisturbed: Any, bitstill: Any) -> None:
    """It costs a line; its run is brought to its end again, and the others are left alone."""
    paths, other = RunPaths(done.directory("hard")), done.directory("soft_hard")
    half = cut(paths.record)
    before = contents(paths.directory, other, done.folder / "teachers")
    for command in ("status", "report"):
        shown = bitstill(command, str(done.folder / "mine"))
        assert shown.returncode == 0, shown.stderr
        [line] = shown.stderr.splitlines()
        assert line.startswith(f"{paths.record} is damaged (")
        assert "soft_hard" in shown.stdout
    assert contents(paths.directory, other, done.folder / "teachers") == before

    code, _, err = done.run(*SWEPT)
    assert code == 0, err
    line, counted, *_ = err.splitlines()
    assert line.startswith(f"{paths.record} is damaged (")
    assert counted == "2 runs: 1 skipped, 1 to do"
    assert err.count("damaged") == 2, "the line itself has it twice"
    assert done.results() == undisturbed
    assert paths.damaged_record.read_bytes() == half
    assert contents(other, done.folder / "teachers").items() <= before.items()
    assert "run.json was damaged: it is kept as " in (paths.directory / "train.log").read_text()


@pytest.mark.parametrize("which", ["the run's own", "its teacher's"])
def test_a_record_that_is_cut_in_half_under_a_run_alone(
    done: Any, undisturbed: Any, which: str
) -> None:
    own = RunPaths(done.directory("soft_hard"))
    paths = own if which == "the run's own" else stored(done)
    half = cut(paths.record)
    if paths is not own:
        own.record.unlink()  # so that it is begun again
    code, _, err = done.run("loss=soft_hard")
    assert code == 0, err
    assert [line for line in err.splitlines() if "damaged" in line] == [
        f"{paths.record} was damaged: it is kept as run.json.damaged"
    ]
    assert paths.damaged_record.read_bytes() == half
    assert done.results() == undisturbed


@pytest.mark.parametrize("name", ["weights", "teacher_logits"])
def test_a_teacher_that_has_been_altered(done: Any, undisturbed: Any, name: str) -> None:
    altered: Path = getattr(stored(done), name)
    flip(altered)
    RunPaths(done.directory("soft_hard")).record.unlink()
    RunPaths(done.directory("soft_hard")).checkpoint.unlink()
    RunPaths(done.directory("hard")).record.unlink()
    before = contents(done.folder / "teachers")
    code, _, err = done.run("loss=soft_hard")
    assert code == 2
    assert one_line(err).startswith(
        f"bitstill: {altered} has changed since its teacher was trained"
    )
    assert one_line(err).endswith(": remove its folder, and the teacher is trained again")

    # In a sweep the others are finished.
    code, _, err = done.run(*SWEPT)
    assert code == 1
    assert one_line(err) == "bitstill: 1 of 2 runs are not done:"
    assert f"  soft_hard T=15 seed 0: UserError: {altered} has changed" in err.splitlines()[-1]
    assert done.states() == {"hard": "done", "soft_hard": "failed"}
    assert contents(done.folder / "teachers") == before

    # What the line says to do.
    for path in altered.parent.iterdir():
        path.unlink()
    altered.parent.rmdir()
    code, _, err = done.run(*SWEPT)
    assert code == 0, err
    assert done.results() == undisturbed


def test_checkpoints_that_are_damaged(place: Any, undisturbed: Any) -> None:
    """One is warned of in the log, and the run resumes from the previous one; with two, anew."""
    code, _, err = place.run("loss=hard")
    assert code == 0, err
    [directory] = place.directories()
    paths = RunPaths(directory)
    checkpoint, name = paths.checkpoint.read_bytes(), str(directory.relative_to(place.folder))
    for damaged in ([paths.checkpoint], [paths.checkpoint, paths.previous_checkpoint]):
        for path in (paths.record, paths.metrics, paths.weights, directory / "train.log"):
            path.unlink()
        for path in (paths.checkpoint, paths.previous_checkpoint):
            path.write_bytes(checkpoint)
        for path in damaged:
            flip(path)
        code, _, err = place.run("loss=hard")
        assert code == 0, err
        log = (directory / "train.log").read_text()
        for path in damaged:
            instead = "trying the one before" if path == paths.checkpoint else "starting over"
            said = f"{path} is damaged (its checksum does not fit): {instead}"
            assert log.count(said) == 1
        assert log.count(": epoch ") == (0 if len(damaged) == 1 else 6)
        results = place.results()
        assert results.weights[name] == undisturbed.weights[name]
        assert results.metrics[name] == undisturbed.metrics[name]


@contextmanager
def small_disk(folder: Path, mebibytes: float) -> Iterator[None]:
    """Let a folder be a file system of few bytes; root may mount one."""
    folder.mkdir()
    size = f"size={int(mebibytes * 2**20)}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)  # noqa: S603, S607
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)  # noqa: S603, S607


def enlarge(folder: Path, mebibytes: float) -> None:
    size = f"remount,size={int(mebibytes * 2**20)}"
    subprocess.run(["mount", "-o", size, folder], check=True)  # noqa: S603, S607


def test_a_disk_that_is_full(place: Any, undisturbed: Any) -> None:
    """A checkpoint is 3.5 MB: the second has no room."""
    if os.geteuid() != 0:
        a_file_that_may_not_grow(place, undisturbed)
        return
    with small_disk(place.folder, 6):
        code, _, err = place.run("loss=hard")
        assert code == 2
        line = one_line(err)
        assert "No space left on device" in line
        assert line.endswith(": mend that, and run the same command again")
        [directory] = place.directories()
        record = read_record(RunPaths(directory))
        assert record is not None
        assert record.status == "failed"
        assert record.epoch >= 1
        assert not list(directory.glob(".*.ckpt*")), "half a file is left"

        code, _, err = place.run(*SWEPT)
        assert code == 1
        assert one_line(err) == "bitstill: 2 of 2 runs are not done:"
        assert err.count("No space left on device") == 2

        enlarge(place.folder, 64)
        code, _, err = place.run(*SWEPT)
        assert code == 0, err
        assert place.results() == undisturbed


def a_file_that_may_not_grow(place: Any, undisturbed: Any) -> None:
    """Without root: a limit on the size of files, which a checkpoint exceeds."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, 2**21))

    code, _, err = place.run("loss=hard", preexec_fn=limit)
    assert code != 0
    assert "File too large" in err
    code, _, err = place.run("loss=hard")
    assert code == 0, err
    [(name, weights)] = place.results().weights.items()
    assert weights == undisturbed.weights[name]


def test_a_store_that_cannot_be_written(place: Any, undisturbed: Any) -> None:
    store = place.folder / "teachers"
    store.mkdir(parents=True)
    with read_only(store):
        code, _, err = place.run("loss=soft_hard")
        assert code == 2
        line = one_line(err)
        assert str(store) in line
        assert line.endswith(": mend that, and run the same command again")

        code, _, err = place.run(*SWEPT)
        assert code == 1
        assert place.states() == {"hard": "done", "soft_hard": "failed"}
        assert str(store) in err.splitlines()[-1]
    code, _, err = place.run(*SWEPT)
    assert code == 0, err
    assert err.startswith("2 runs: 1 skipped, 1 to do\n")
    assert place.results() == undisturbed


def test_a_finished_store_that_cannot_be_written_will_do(done: Any) -> None:
    """As of a colleague, who has trained the teacher."""
    with read_only(done.folder / "teachers"):
        code, _, err = done.run("loss=soft")
    assert code == 0, err


def test_an_output_folder_that_cannot_be_written(place: Any) -> None:
    place.folder.mkdir()
    with read_only(place.folder):
        for arguments in (("loss=hard",), SWEPT):
            code, _, err = place.run(*arguments)
            assert code == 2
            assert str(place.folder) in one_line(err)
            assert one_line(err).endswith(": mend that, and run the same command again")
    assert not list(place.folder.iterdir())
