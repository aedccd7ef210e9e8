"""A run has one process that works on it."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
from tests.conftest import made_up

from bitstill.errors import UserError
from bitstill.runs import RunPaths, read_record
from bitstill.runs.locks import exclusive, is_worked_on
from bitstill.runs.manifest import write_manifest


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    made_up().write(paths)
    paths.metrics.touch()
    others = [tmp_path / name for name in (".student.bsq.abcd1234", "run.json.damaged", ".hydra")]
    for path in others:
        path.touch()
    for name in ("run.json", "last.ckpt", "metrics.csv", "train_logits.safetensors"):
        (tmp_path / f".{name}.abcd1234").touch()
    with exclusive(paths):
        found = set(tmp_path.iterdir())
    assert found == {paths.record, paths.metrics, paths.lock, *others}
    assert read_record(paths) == made_up()


def test_halves_are_removed_by_who_holds_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then they may be what another process is writing."""
    paths = RunPaths(tmp_path)
    held: list[bool] = []
    monkeypatch.setattr(
        "bitstill.runs.locks.remove_partial_files", lambda path: held.append(is_worked_on(paths))
    )
    with exclusive(paths):
        assert set(held) == {True}


def test_who_looks_on_does_not_work_on_a_run(tmp_path: Path) -> None:
    """Two may look at once."""
    paths = RunPaths(tmp_path)
    paths.lock.touch()
    with paths.lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not is_worked_on(paths)


@pytest.mark.parametrize("reason", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP])
def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    """A file in place of a lock would outlive a process that is killed."""
    paths = RunPaths(tmp_path / "run")

    def flock(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "flock", flock)
    line = rf"run\.lock cannot be locked \({os.strerror(reason)}\): give a folder on a file"
    with pytest.raises(UserError, match=line), exclusive(paths):
        pass
    with pytest.raises(UserError, match=r"sweep\.lock cannot be locked"):
        write_manifest(tmp_path, [])
    with pytest.raises(UserError, match=line):
        is_worked_on(paths)
