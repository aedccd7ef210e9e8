"""Record and files of a run."""

import errno
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Configure, made_up

from bitstill import runs
from bitstill.errors import UserError
from bitstill.runs import RunPaths, RunRecord
from bitstill.runs.identity import identity

SELECTIONS: dict[str, dict[str, runs.Row | None]] = {
    "running": {
        "last": {"epoch": 2.0, "test/accuracy": 0.5},
        "best_val": None,
        "best_test": {"epoch": 1.0, "test/accuracy": 0.1 + 0.2},
    }
}


def record(**changes: Any) -> RunRecord:
    known = {"loss": "soft", "epoch": 2, "epochs": 2, "selections": SELECTIONS}
    return made_up(**known | changes)


def test_a_record_reads_back(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    written = record(error={"type": "A", "message": "b", "traceback": "c"}, seconds=1.5)
    written.write(paths)
    assert runs.read_record(paths) == written


def test_a_record_is_strict_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        record(seconds=math.nan).write(RunPaths(tmp_path))
    assert not list(tmp_path.iterdir())


def test_no_record_is_none(tmp_path: Path) -> None:
    for read in (runs.read_record, runs.known_record, runs.record_to_go_on_from):
        assert read(RunPaths(tmp_path)) is None


DAMAGED = [
    (b"", "Expecting value"),
    (b"\xff", "codec can't decode"),
    (b'{"schema_version": 1', "Expecting ',' delimiter"),
    (b"[1]", "no schema version"),
    (b"[" * 100_000, "it is nested too deep"),
    (b"{}", "no schema version"),
    (b'{"schema_version": 1}', "required positional arguments"),
    (b'{"schema_version": 1, "colour": "red"}', "unexpected keyword argument 'colour'"),
]


@pytest.mark.parametrize(("content", "words"), DAMAGED)
def test_a_damaged_record_is_refused_where_it_is_asked_for(
    tmp_path: Path, content: bytes, words: str
) -> None:
    paths = RunPaths(tmp_path)
    paths.record.write_bytes(content)
    with pytest.raises(runs.DamagedRecordError) as caught:
        runs.read_record(paths)
    message = str(caught.value)
    assert message.startswith(f"{paths.record} is damaged (")
    assert words in message
    assert message.endswith("): run its command again, which keeps the file as run.json.damaged")
    assert "\n" not in message


@pytest.mark.parametrize(("content", "words"), DAMAGED)
def test_of_many_a_damaged_record_is_none_with_one_warning(
    tmp_path: Path, content: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    paths = RunPaths(tmp_path / "a")
    paths.directory.mkdir()
    paths.record.write_bytes(content)
    assert runs.known_record(paths) is None
    assert runs.load_sweep(tmp_path) == []
    [line] = caplog.messages
    assert line.startswith(f"{paths.record} is damaged (")
    assert paths.record.read_bytes() == content


def test_records_of_no_folder_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere is not a folder: give the folder of a sweep"):
        runs.load_sweep(tmp_path / "nowhere")


def test_records_of_what_is_no_sweep_are_an_error(tmp_path: Path) -> None:
    run = tmp_path / "sweep" / "run"
    run.mkdir(parents=True)
    (run / "run.json").touch()
    with pytest.raises(UserError, match=r"sweep/run is a run: give the folder of its sweep"):
        runs.load_sweep(run)
    with pytest.raises(UserError, match=r"holds no runs: give the folder of a sweep"):
        runs.load_sweep(tmp_path)
    (tmp_path / "sweep.json").touch()  # one that has only begun
    assert runs.load_sweep(tmp_path) == []
    assert runs.known_runs(str(tmp_path)) == []


@pytest.mark.parametrize(("content", "words"), DAMAGED)
def test_a_damaged_record_is_kept_when_its_run_begins_again(
    tmp_path: Path, content: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    paths = RunPaths(tmp_path)
    paths.record.write_bytes(content)
    assert runs.record_to_go_on_from(paths) is None
    assert caplog.messages == [f"{paths.record} was damaged: it is kept as run.json.damaged"]
    assert not paths.record.exists()
    assert paths.damaged_record.read_bytes() == content


ROW = {"epoch": 1.0, "test/accuracy": 0.5}
CHOSEN = {"last": ROW, "best_val": None, "best_test": ROW}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"selections": {"running": {}}}, "its selections are wrong"),
        ({"selections": {"other": CHOSEN}}, "its selections are wrong"),
        ({"selections": {"running": CHOSEN | {"last": None}}}, "its selections are wrong"),
        ({"selections": {"running": CHOSEN | {"best_val": {"epoch": 1.0}}}}, "its selections"),
        ({"selections": {"running": CHOSEN | {"best": ROW}}}, "its selections are wrong"),
        ({"error": {"type": "OSError"}}, "its error is wrong"),
        ({"epoch": -1}, "its epoch is wrong"),
        ({"seconds": -0.5}, "its seconds is wrong"),
        ({"seconds": 1e308}, "its seconds is wrong"),
        ({"images_per_second": -1.0}, "its images_per_second is wrong"),
        ({"images": {"test": -8}}, "its images is wrong"),
    ],
)
def test_a_record_that_lacks_what_is_read_of_it_is_damaged(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    paths = RunPaths(tmp_path)
    record(selections={"running": CHOSEN}).write(paths)
    assert runs.read_record(paths) is not None
    record(**changes).write(paths)
    with pytest.raises(runs.DamagedRecordError, match=words):
        runs.read_record(paths)


def test_a_record_of_another_schema_is_refused_everywhere(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "a")
    paths.directory.mkdir()
    paths.record.write_bytes(b'{"schema_version": 2}')
    line = f"{paths.record} has schema version 2, and this bitstill reads 1: use the bitstill "
    for read in (runs.read_record, runs.known_record, runs.record_to_go_on_from):
        with pytest.raises(UserError, match=re.escape(line)):
            read(paths)
    with pytest.raises(UserError, match=re.escape(line)):
        runs.load_sweep(tmp_path)
    assert paths.record.exists()


def test_a_folder_in_place_of_a_record_is_refused(tmp_path: Path) -> None:
    RunPaths(tmp_path).record.mkdir()
    with pytest.raises(UserError, match=r"run\.json cannot be read"):
        runs.read_record(RunPaths(tmp_path))


def test_a_record_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network's disk, by a job elsewhere; what else goes wrong there is said."""
    paths, known = RunPaths(tmp_path), record()
    known.write(paths)
    read, faults = Path.read_bytes, [errno.ESTALE]

    def failing(path: Path) -> bytes:
        if faults:
            number = faults.pop()
            raise OSError(number, os.strerror(number))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    assert runs.read_record(paths) == known
    faults.append(errno.EIO)
    with pytest.raises(UserError, match=r"run\.json cannot be read: .*Input/output error"):
        runs.read_record(paths)


def test_a_finished_run_is_known_by_its_record(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths, config = RunPaths(tmp_path), configure(tmp_path)
    assert runs.finished_record(config, paths) is None
    done = record(identity=identity(config, config.data.identity()))
    done.write(paths)
    assert runs.finished_record(config, paths) == done
    assert runs.finished_record(configure(tmp_path, "sweep.rerun=none"), paths) == done
    assert runs.finished_record(configure(tmp_path, "sweep.rerun=all"), paths) is None
    assert runs.finished_record(configure(tmp_path, "seed=1"), paths) is None, "another run"
    for status in ("running", "failed", "interrupted"):
        record(identity=done.identity, status=status).write(paths)
        assert runs.finished_record(config, paths) is None
    paths.record.write_bytes(b"{")
    assert runs.finished_record(config, paths) is None
    assert not caplog.messages, "that is for the run to say"


def test_a_sweep_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, seed in (("b", 1), ("a", 2), ("c", 3)):
        (tmp_path / name).mkdir()
        record(seed=seed).write(RunPaths(tmp_path / name))
    (tmp_path / "empty").mkdir()
    (tmp_path / "multirun.yaml").touch()
    assert [found.seed for found in runs.load_sweep(tmp_path)] == [2, 1, 3]


def test_a_cell_is_a_runs_entry_seeds_aside() -> None:
    assert record(temperature=1.5).cell == record(temperature=1.5, seed=4).cell == "soft T=1.5"
    assert record(model="teacher", loss="hard", temperature=None).cell == "teacher"


# Of what one of these were left, a run that begins anew would take as its own.
TRAINED = (
    *("run.json", "metrics.csv", "correctness.npz", "logged.json"),
    *("last.ckpt", "previous.ckpt", "weights.safetensors", "best_val.safetensors"),
    *("train_logits.safetensors", "student.bitstill"),
)


def test_clearing_leaves_the_log_the_lock_and_the_gradients(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    kept = {tmp_path / "train.log", paths.lock, paths.gradients}
    for path in (*kept, *(tmp_path / name for name in TRAINED)):
        path.touch()
    paths.clear()
    assert set(tmp_path.iterdir()) == kept


@pytest.mark.parametrize("looks", range(len(TRAINED) + 2))
def test_what_another_process_begins_meanwhile_is_a_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    paths, left, exists = RunPaths(tmp_path), [None] * looks, Path.exists

    def look(path: Path) -> bool:
        if left:
            left.pop()
        else:
            paths.lock.touch()
            record().write(paths)
            paths.metrics.touch()
        return exists(path)

    monkeypatch.setattr(Path, "exists", look)
    runs.refuse_foreign(paths)
