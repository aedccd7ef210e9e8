"""How far a sweep is: from its folder alone, whoever runs it, and wherever the folder lies."""

import dataclasses
import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.asked import ONE, TEACHER, TWO, expected, sweeps_folder, teacher
from tests.conftest import made_up, read_only

from bitstill.errors import UserError
from bitstill.runs import Row, RunPaths, RunRecord, status
from bitstill.runs.locks import exclusive
from bitstill.runs.manifest import read_manifest, write_manifest
from bitstill.runs.status import RunState, look, seconds_left
from bitstill.sweep.queue import remember

Show = Callable[..., tuple[int, str, str]]

LAST: Row = {"epoch": 2, "test/accuracy": 0.625}
SELECTIONS: dict[str, dict[str, Row | None]] = {
    "running": {"last": {"epoch": 2, "test/accuracy": 0.5}, "best_val": None, "best_test": LAST},
    "precise": {"last": LAST, "best_val": None, "best_test": LAST},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sweeps_folder(tmp_path)


def put(record: RunRecord, paths: RunPaths) -> None:
    paths.directory.mkdir(parents=True, exist_ok=True)
    record.write(paths)


# Holds a run's lock until it is killed.
HOLD = """
import sys, time
from pathlib import Path
from bitstill.runs.locks import exclusive
from bitstill.runs import RunPaths
with exclusive(RunPaths(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def worked_on(paths: RunPaths) -> Iterator["subprocess.Popen[str]"]:
    """Let another process work on a run."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", HOLD, str(paths.directory)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["done", "failed", "interrupted"])
def test_an_end_is_what_the_record_says(folder: Path, kind: Any) -> None:
    one = expected(folder, "a", ONE)
    put(made_up(identity=ONE, status=kind, epoch=2), one.paths)
    state = look(one)
    assert (state.status, state.epoch) == (kind, 2)


def test_without_a_record_a_run_is_missing(folder: Path) -> None:
    one = expected(folder, "a", ONE)
    assert look(one) == RunState(one, "missing", None)
    one.paths.directory.mkdir()
    one.paths.lock.touch()
    state = look(one)
    assert (state.status, state.epoch, state.accuracy) == ("missing", 0, None)


def test_another_runs_record_is_not_looked_at(folder: Path) -> None:
    one = expected(folder, "a", ONE)
    put(made_up(identity=TWO), one.paths)
    assert look(one).status == "missing"


def test_a_run_is_running_while_a_process_holds_it(folder: Path) -> None:
    one = expected(folder, "a", ONE)
    put(made_up(identity=ONE, status="running"), one.paths)
    assert look(one).status == "interrupted", "no lock"
    with worked_on(one.paths) as process:
        assert look(one).status == "running"
        assert look(one).status == "running", "looking takes nothing away"
        process.kill()
        process.wait()
        assert one.paths.lock.exists()
        assert look(one).status == "interrupted", "the process is gone without a word"
    with exclusive(one.paths):
        assert look(one).status == "running", "held by this process"
    assert look(one).status == "interrupted"


def test_a_teacher_is_not_done_until_it_is_copied_from_its_store(folder: Path) -> None:
    one = teacher(folder)
    assert one.stored is not None
    found = []
    for kind in ("running", "interrupted", "failed", "done"):
        put(made_up(identity=TEACHER, status=kind, epoch=3), one.stored)
        found.append(look(one).status)
    assert found == ["interrupted", "interrupted", "failed", "stored"]
    with exclusive(one.paths):
        assert look(one).status == "running", "it is being copied"
    put(made_up(identity=TEACHER, status="running"), one.stored)
    with exclusive(one.stored):
        assert look(one).status == "running"
    put(made_up(identity=TEACHER), one.paths)
    assert look(one).status == "done", "its own folder comes first"


def test_a_student_that_waits_for_its_teacher_shows_how_far_that_is(
    folder: Path, show: Show
) -> None:
    """A teacher may take an hour, in which a student has nothing of its own to show."""
    stored = teacher(folder).stored
    assert stored is not None
    one = dataclasses.replace(expected(folder, "a", ONE), stored=stored)
    write_manifest(folder, [one])
    put(made_up(identity=TEACHER, status="running", epoch=30, epochs=40, seconds=60.0), stored)
    assert look(one).status == "missing", "the teacher is another sweep's"
    with worked_on(one.paths):
        _, shown, _ = show(str(folder))
        # 10 epochs of the teacher are left, and as long as nothing else is known 4 such.
        expected_lines = ["student a seed 0", "running", "teacher 30/40 epochs", "about 0:28 left"]
        assert [text for text in expected_lines if text not in shown] == []
        [state] = json.loads(show(str(folder), "--json")[1])
        assert state["teacher"] == {"epoch": 30, "epochs": 40, "seconds": 60.0}
        assert (state["epoch"], state["epochs"]) == (0, 4)
        put(made_up(identity=TEACHER, epoch=40, epochs=40), stored)
        assert look(one).teacher is None
    put(made_up(identity=TEACHER, status="running", epoch=30, epochs=40), stored)
    put(made_up(identity=ONE, status="running", epoch=1), one.paths)
    with worked_on(one.paths):
        assert look(one).teacher is None, "it is trained anew for others"


def test_a_teacher_that_was_once_interrupted_is_as_far_as_its_store(folder: Path) -> None:
    """Whoever asked for it first was stopped, and has left a record of that."""
    one = teacher(folder)
    assert one.stored is not None
    put(made_up(identity=TEACHER, status="interrupted", epoch=0), one.paths)
    put(made_up(identity=TEACHER, status="running", epoch=3), one.stored)
    assert (look(one).status, look(one).epoch) == ("interrupted", 3)
    with exclusive(one.stored):
        assert (look(one).status, look(one).epoch) == ("running", 3)


@pytest.mark.parametrize("earlier", ["failed", "interrupted", None])
def test_a_run_that_waits_or_loads_is_running(folder: Path, earlier: Any) -> None:
    one = expected(folder, "a", ONE)
    if earlier is not None:
        put(made_up(identity=ONE, status=earlier, epoch=2), one.paths)
    with exclusive(one.paths):
        assert (look(one).status, look(one).epoch) == ("running", 2 if earlier else 0)
    assert look(one).status == (earlier or "missing")


def test_a_failed_run_that_is_begun_again_shows_no_error(folder: Path) -> None:
    one = expected(folder, "a", ONE)
    error = {"type": "ValueError", "message": "bad luck", "traceback": "..."}
    put(made_up(identity=ONE, status="failed", error=error), one.paths)
    assert look(one).error == "ValueError: bad luck"
    with exclusive(one.paths):
        assert look(one).error == ""
        assert look(one).plain()["error"] is None


def test_an_error_without_words_is_named_by_its_type(folder: Path) -> None:
    one = expected(folder, "a", ONE)
    error = {"type": "MemoryError", "message": "", "traceback": "..."}
    put(made_up(identity=ONE, status="failed", error=error), one.paths)
    assert look(one).error == "MemoryError: no message"


def test_accuracy_is_the_latest_with_exact_statistics(folder: Path) -> None:
    one = expected(folder, "a", ONE)

    def accuracy(**changes: Any) -> float | None:
        put(made_up(identity=ONE, **changes), one.paths)
        return look(one).accuracy

    assert accuracy(selections=SELECTIONS) == 0.625
    assert accuracy(selections={"running": SELECTIONS["running"]}) == 0.5
    assert accuracy(selections={}) is None


def test_a_state_is_plain(folder: Path) -> None:
    one = expected(folder, "a", ONE)
    common = {"name": "student a seed 0", "directory": "a", "identity": ONE, "epochs": 4}
    common |= {"cell": "student a", "seed": 0, "difference": ""}
    assert look(one).plain() == common | {
        "status": "missing",
        "job": None,
        "epoch": 0,
        "teacher": None,
        "seconds": 0.0,
        "test/accuracy": None,
        "error": None,
    }
    error = {"type": "DivergedError", "message": "became nan", "traceback": "..."}
    changes: dict[str, Any] = {"status": "failed", "epoch": 2, "seconds": 7.5, "error": error}
    put(made_up(identity=ONE, selections=SELECTIONS, **changes), one.paths)
    assert look(one).plain() == common | {
        "status": "failed",
        "job": None,
        "epoch": 2,
        "teacher": None,
        "seconds": 7.5,
        "test/accuracy": 0.625,
        "error": "became nan",
    }


def test_time_left_by_hand(folder: Path) -> None:
    def state(kind: status.State, epoch: int, seconds: float, epochs: int = 10) -> RunState:
        record = made_up(status=kind, epoch=epoch, seconds=seconds)
        return RunState(expected(folder, "a", ONE, epochs=epochs), kind, record)

    missing = RunState(expected(folder, "b", TWO, epochs=10), "missing", None)
    assert seconds_left([]) is None
    assert seconds_left([missing]) is None
    assert seconds_left([state("running", 0, 5.0), missing]) is None, "no epoch has finished"
    # 30 seconds for 10 epochs; 10 epochs are left.
    assert seconds_left([state("done", 10, 30.0), missing]) == 30.0
    # 30 + 10 seconds for 10 + 5 epochs; 5 + 10 are left, of two runs one is running.
    assert seconds_left([state("done", 10, 30.0), state("running", 5, 10.0), missing]) == 40.0
    # 20 seconds for 8 epochs; 6 + 6 + 10 are left, two at a time.
    running = [state("running", 4, 8.0), state("running", 4, 12.0)]
    assert seconds_left([*running, missing]) == 27.5
    # An interrupted run goes on; a failed one does not, but says how fast it was.
    assert seconds_left([state("interrupted", 4, 8.0), state("failed", 6, 2.0)]) == 6.0
    assert seconds_left([state("done", 10, 30.0)]) == 0


def test_teachers_and_students_take_times_of_their_own(folder: Path) -> None:
    one = expected(folder, "a", ONE, epochs=10)
    asked = [dataclasses.replace(one, cell="teacher"), one]
    taught = RunState(asked[0], "done", made_up(epoch=10, seconds=90.0))
    missing = [RunState(one, "missing", None) for one in asked]
    assert seconds_left([taught, missing[1]]) == 90.0, "until a student has shown how fast it is"
    begun = RunState(asked[1], "running", made_up(status="running", epoch=5, seconds=10.0))
    assert seconds_left([taught, begun]) == 10.0
    assert seconds_left([taught, begun, *missing]) == 10.0 + 20.0 + 90.0


def test_an_awaited_teacher_is_part_of_the_time_left(folder: Path) -> None:
    at_work = made_up(identity=TEACHER, status="running", epoch=6, epochs=10, seconds=60.0)
    waiting = [
        RunState(expected(folder, "a", identity, epochs=5), "running", None, teacher=at_work)
        for identity in (ONE, TWO)
    ]
    # 10 seconds an epoch: 4 of the one teacher, and then 5 of either student, two at a time.
    assert seconds_left(waiting) == 40.0 + 2 * 50.0 / 2
    own = RunState(dataclasses.replace(teacher(folder), epochs=10), "running", at_work)
    assert seconds_left([own, *waiting]) == (40.0 + 2 * 50.0) / 3


def test_the_time_left_of_many_runs_is_looked_at_a_few_times_each(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = expected(folder, "a", ONE, epochs=10)
    states = [RunState(one, "running", made_up(status="running", epoch=5, seconds=5.0))] * 300
    looks = []

    def is_teacher(state: RunState) -> bool:
        looks.append(state)
        return False

    monkeypatch.setattr(RunState, "is_teacher", property(is_teacher))
    assert seconds_left(states) == 5.0
    assert len(looks) <= 4 * len(states)


def test_a_run_without_a_finished_epoch_does_not_say_how_fast_it_is(folder: Path) -> None:
    one = expected(folder, "a", ONE, epochs=10)
    done = RunState(one, "done", made_up(epoch=10, seconds=30.0))
    begun = RunState(one, "running", made_up(status="running", epoch=0, seconds=5.0))
    assert seconds_left([done, begun]) == 30.0


def test_a_folder_reads_the_same_where_it_has_moved_to(folder: Path, tmp_path: Path) -> None:
    one, other = expected(folder, "a", ONE), teacher(folder)
    write_manifest(folder, [one, other])
    put(made_up(identity=ONE, epoch=2), one.paths)
    assert other.stored is not None
    put(made_up(identity=TEACHER, epoch=3, status="interrupted"), other.stored)
    before = [state.plain() for state in status.sweep_states(folder)]
    assert [state["epoch"] for state in before] == [2, 3]
    moved = shutil.move(folder.parent, tmp_path / "elsewhere")
    assert [state.plain() for state in status.sweep_states(Path(moved) / "mine")] == before
    assert str(tmp_path) not in (Path(moved) / "mine" / "sweep.json").read_text()


def test_a_relative_folder_will_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    one = expected(Path("mine"), "a", ONE)
    put(made_up(identity=ONE, epoch=2), one.paths)
    write_manifest(Path("mine"), [one])
    assert read_manifest(Path("mine")) == [one]
    assert [state.epoch for state in status.sweep_states(folder)] == [2]


def test_runs_that_no_manifest_names_are_found(folder: Path) -> None:
    write_manifest(folder, [expected(folder, "b", TWO)])
    put(made_up(identity=TWO), RunPaths(folder / "b"))
    put(made_up(identity=ONE, seed=3, epoch=2, epochs=5), RunPaths(folder / "a"))
    found = status.sweep_states(folder)
    assert [state.expected.name for state in found] == ["student b seed 0", "hard T=15 seed 3"]
    assert [(state.epoch, state.expected.epochs) for state in found] == [(1, 4), (2, 5)]
    (folder / "sweep.json").unlink()
    assert [state.expected.paths.directory.name for state in status.sweep_states(folder)] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(("there", "what"), [(True, "holds no runs"), (False, "is no folder")])
def test_a_folder_without_runs_is_refused(tmp_path: Path, there: bool, what: str) -> None:
    folder = tmp_path / "nothing"
    if there:
        folder.mkdir()
    with pytest.raises(UserError) as caught:
        status.sweep_states(folder)
    assert (
        str(caught.value) == f"{folder} {what}: give the folder of a sweep, such as multirun/quick"
    )


def test_a_death_is_recorded_for_the_run(folder: Path) -> None:
    one = expected(folder, "a", ONE)
    put(made_up(identity=ONE, status="running", epoch=2), one.paths)
    status.mark_failed(look(one), "its process was killed 3 times")
    state = look(one)
    assert (state.status, state.epoch) == ("failed", 2)
    assert state.plain()["error"] == "its process was killed 3 times"


def test_a_death_is_recorded_for_a_teacher_that_only_its_store_knows(folder: Path) -> None:
    one = teacher(folder)
    assert one.stored is not None
    put(made_up(identity=TEACHER, status="running", epoch=2), one.stored)
    status.mark_failed(look(one), "its process was killed 3 times")
    assert look(one).status == "failed"


@pytest.fixture
def show(command: Show) -> Show:
    """Runs ``bitstill status`` in this process: exit code, stdout, stderr."""
    return functools.partial(command, "status")


@pytest.fixture
def swept(folder: Path) -> Iterator[Path]:
    """A sweep with a run of each state."""
    cells = [
        expected(folder, name, letter * 64) for name, letter in zip("abcde", "45678", strict=True)
    ]
    taught = teacher(folder)
    write_manifest(folder, [*cells, taught])
    done, running, failed, gone, _ = cells
    assert taught.stored is not None
    put(made_up(identity=TEACHER, epoch=4, selections=SELECTIONS, seconds=9.0), taught.stored)
    common: dict[str, Any] = {"seconds": 75.0, "selections": SELECTIONS}
    error = {"type": "ValueError", "message": "bad luck", "traceback": "..."}
    put(made_up(identity=done.identity, epoch=4, **common), done.paths)
    put(made_up(identity=running.identity, status="running", epoch=2, **common), running.paths)
    put(made_up(identity=failed.identity, status="failed", epoch=0, error=error), failed.paths)
    put(made_up(identity=gone.identity, status="running", epoch=1, **common), gone.paths)
    with worked_on(running.paths):
        yield folder


def test_status_shows_every_state(show: Show, swept: Path) -> None:
    code, out, err = show(str(swept))
    assert (code, err) == (0, "")
    *lines, error, last = out.splitlines()
    assert error == "student c seed 0: ValueError: bad luck"
    *students, taught = lines
    assert [line.split()[:5] for line in students] == [
        ["student", "a", "seed", "0", "done"],
        ["student", "b", "seed", "0", "running"],
        ["student", "c", "seed", "0", "failed"],
        ["student", "d", "seed", "0", "interrupted"],
        ["student", "e", "seed", "0", "missing"],
    ]
    assert taught.split()[:4] == ["teacher", "seed", "0", "stored"]
    assert [line.partition(" epochs")[0].split()[-1] for line in lines] == [
        *("4/4", "2/4", "0/4", "1/4", "0/4", "4/4")
    ]
    assert lines[0].endswith("test  62.5 % (exact)  1:15")
    # 3 * 75 seconds for 4 + 2 + 1 epochs; 2 + 3 + 4 are left, one at a time: 289 seconds.
    counts = "1 running, 1 failed, 1 interrupted, 1 stored, 1 missing"
    assert last == f"1/6 done, {counts}, about 4:49 left"


def test_status_for_programs(show: Show, swept: Path) -> None:
    code, out, err = show(str(swept), "--json")
    assert (code, err) == (0, "")
    states = json.loads(out)
    assert [state["status"] for state in states] == [
        *("done", "running", "failed", "interrupted", "missing", "stored")
    ]
    assert [state["directory"] for state in states] == [*"abcde", "teacher"]
    assert [state["epoch"] for state in states] == [4, 2, 0, 1, 0, 4]
    assert states[0]["test/accuracy"] == 0.625
    assert states[2]["error"] == "bad luck"


def test_what_is_in_slurms_queue_is_queued(
    show: Show, swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever came of it before; what has ended, or is at work, is known better from its files."""
    jobs = {letter * 64: f"7_{number}" for number, letter in enumerate("45678")}
    remember(swept / ".submitit", jobs)
    monkeypatch.setenv("PATH", str(swept.parent))
    assert "queued" not in show(str(swept))[1], "no Slurm here"
    squeue = swept.parent / "squeue"
    squeue.write_text("#!/bin/sh\necho 7_0; echo 7_1; echo 7_2; echo 7_4\n")
    squeue.chmod(0o755)
    code, out, err = show(str(swept))
    assert (code, err) == (0, "")
    *lines, last = out.splitlines()
    assert [line.split()[4:5] for line in lines[:5]] == [
        [state] for state in ("done", "running", "queued", "interrupted", "queued")
    ]
    assert lines[2].rstrip().endswith("0/4 epochs  job 7_2")
    assert last.startswith("1/6 done, 1 running, 1 interrupted, 1 stored, 2 queued, about ")
    states = json.loads(show(str(swept), "--json")[1])
    assert [state["job"] for state in states] == [None, None, "7_2", None, "7_4", None]


def test_status_changes_nothing(show: Show, swept: Path) -> None:
    def contents() -> dict[Path, bytes]:
        found = (path for path in swept.parent.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in found if path.name != "run.lock"}

    before = contents()
    assert show(str(swept))[0] == 0
    assert contents() == before


def test_a_program_does_not_watch(show: Show, swept: Path) -> None:
    code, _, err = show(str(swept), "--watch", "--json")
    assert (code, err) == (2, "bitstill: --watch --json is not allowed: give one of them\n")


@pytest.mark.parametrize("options", [[], ["--json"], ["--watch"]])
def test_status_of_nothing_is_one_line(show: Show, tmp_path: Path, options: list[str]) -> None:
    code, out, err = show(str(tmp_path), *options)
    assert (code, out) == (2, "")
    assert err == (
        f"bitstill: {tmp_path} holds no runs: give the folder of a sweep, such as multirun/quick\n"
    )


def test_status_of_a_damaged_record_is_a_missing_run_and_one_warning(
    show: Show, swept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = swept / "a" / "run.json"
    record.write_bytes(record.read_bytes()[:100])
    found = []
    for _ in range(2):  # `--watch` looks again and again
        code, out, _ = show(str(swept), "--json")
        assert code == 0
        found.append([state["status"] for state in json.loads(out)])
    assert found == [["missing", "running", "failed", "interrupted", "missing", "stored"]] * 2
    [line] = caplog.messages
    assert line.startswith(f"{record} is damaged (")
    assert line.endswith("; until then the run counts as missing")


def test_status_of_another_versions_record_is_one_line(show: Show, swept: Path) -> None:
    record = swept / "a" / "run.json"
    text = record.read_text()
    record.write_text(text.replace('"schema_version": 1', '"schema_version": 9'))
    code, out, err = show(str(swept))
    assert (code, out) == (2, "")
    assert err == (
        f"bitstill: {record} has schema version 9, and this bitstill reads 1: "
        "use the bitstill that wrote it\n"
    )


def test_status_is_watched_until_the_sweep_stands_still(
    show: Show, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = expected(folder, "a", ONE)
    write_manifest(folder, [one])
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        put(made_up(identity=ONE, epoch=len(waited), status="running"), one.paths)
        if len(waited) == 3:
            put(made_up(identity=ONE, epoch=4, status="done"), one.paths)

    monkeypatch.setattr("bitstill.sweep.console.time.sleep", wait)
    monkeypatch.setattr("bitstill.runs.manifest.is_worked_on", lambda paths: True)
    code, out, err = show(str(folder), "--watch")
    assert (code, err) == (0, "")
    assert waited == [2.0] * 3
    assert "1/1 done" in out


def test_what_a_failure_has_stopped_is_not_watched(
    show: Show, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sweep.on_failure=stop, runs that have not begun do not begin."""
    write_manifest(folder, [expected(folder, "a", ONE)])
    status.stop_sign(folder).touch()
    monkeypatch.setattr("bitstill.sweep.console.time.sleep", lambda _: pytest.fail("it waits"))
    code, out, err = show(str(folder), "--watch")
    assert (code, err) == (0, "")
    assert "0/1 done, 1 missing" in out


def test_status_reads_a_folder_that_cannot_be_written(show: Show, swept: Path) -> None:
    """As of a colleague, or of an archive."""
    with read_only(swept):
        code, out, err = show(str(swept))
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("1/6 done, 1 running, 1 failed, 1 interrupted")


def test_a_finished_teacher_in_the_store_outdoes_a_failure(folder: Path) -> None:
    one = teacher(folder)
    assert one.stored is not None
    put(made_up(identity=TEACHER, status="failed", epoch=4), one.paths)
    put(made_up(identity=TEACHER, epoch=4), one.stored)
    assert look(one).status == "stored"
