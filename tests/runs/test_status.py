"""How far a sweep is: from its folder alone, whoever runs it, and wherever the folder lies."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.asked import (
    ONE,
    SELECTIONS,
    TEACHER,
    TWO,
    expected,
    put,
    teacher,
    worked_on,
)
from tests.conftest import made_up

from bitstill.errors import UserError
from bitstill.runs import RunPaths, status
from bitstill.runs.locks import exclusive
from bitstill.runs.manifest import read_manifest, write_manifest
from bitstill.runs.status import RunState, look, seconds_left


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


@pytest.mark.parametrize(("there", "what"), [(True, "holds no runs"), (False, "is not a folder")])
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


def test_a_finished_teacher_in_the_store_outdoes_a_failure(folder: Path) -> None:
    one = teacher(folder)
    assert one.stored is not None
    put(made_up(identity=TEACHER, status="failed", epoch=4), one.paths)
    put(made_up(identity=TEACHER, epoch=4), one.stored)
    assert look(one).status == "stored"
