"""What a sweep would do, and what it would cost."""

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import SMALL, Train, made_up

import bitstill.train
from bitstill import runs
from bitstill.errors import counted
from bitstill.runs import RunPaths, RunRecord
from bitstill.runs.identity import identity as identity_of
from bitstill.runs.identity import teacher_of
from bitstill.schema import TrainConfig
from bitstill.sweep import preview
from bitstill.sweep.plan import PlannedRun

Plan = Callable[..., list[str]]
Put = Callable[..., None]

UNKNOWN = "time: unknown until a run of each kind has finished here"


@pytest.fixture
def show(restored: None, command: Train) -> Train:
    """Runs ``bitstill plan`` in this process: exit code, stdout, stderr."""
    return functools.partial(command, "plan")


@pytest.fixture
def asked(plan_runs: Callable[..., list[PlannedRun]]) -> Callable[..., list[PlannedRun]]:
    epochs = ("schedule.epochs=10", "teacher.schedule.epochs=10")
    return functools.partial(plan_runs, common=epochs)


@pytest.fixture
def put() -> Put:
    def of(run: PlannedRun, **changes: Any) -> None:
        paths = run.expected.paths
        paths.directory.mkdir(parents=True, exist_ok=True)
        model = "teacher" if run.config.is_teacher else "student"
        known = {"identity": run.expected.identity, "model": model, "images_per_second": 1.0}
        made_up(**known | changes).write(paths)
        paths.weights.touch()

    return of


@pytest.fixture
def planned(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Shows a plan; its rows as "run | now | then", then the lines under the table."""
    monkeypatch.setenv("COLUMNS", "120")

    def of(asked: list[PlannedRun]) -> list[str]:
        capfd.readouterr()
        preview.show_plan(asked)
        lines = capfd.readouterr().out.splitlines()
        inside = [re.split(r"\s*[│|]\s*", line)[1:-1] for line in lines if "│" in line]
        return [" | ".join(row) for row in inside] + lines[-2:]

    return of


def test_each_run_has_its_state_and_what_comes_of_it(
    asked: Callable[..., list[PlannedRun]], put: Put, planned: Plan
) -> None:
    found = asked(*(f"loss=hard seed={seed}" for seed in range(5)))
    put(found[0], status="done")
    put(found[1], status="failed", epoch=3)
    put(found[2], status="interrupted", epoch=7)
    put(found[3], status="failed", epoch=0)
    assert planned(found)[:5] == [
        "hard T=15 seed 0 | done | skip",
        "hard T=15 seed 1 | failed | resume from epoch 3",
        "hard T=15 seed 2 | interrupted | resume from epoch 7",
        "hard T=15 seed 3 | failed | run",
        "hard T=15 seed 4 | missing | run",
    ]


@pytest.mark.parametrize("speed", [0.0, 1e-320])
def test_a_speed_that_says_nothing_is_left_out(
    asked: Callable[..., list[PlannedRun]], put: Put, planned: Plan, speed: float
) -> None:
    found = asked("loss=hard seed=0", "loss=hard seed=1")
    put(found[0], images_per_second=speed)
    assert UNKNOWN in planned(found)[-2]


def test_a_student_that_lacks_only_its_end_is_no_copy(
    asked: Callable[..., list[PlannedRun]], put: Put, planned: Plan
) -> None:
    found = asked("loss=hard")
    put(found[0], status="interrupted", epoch=found[0].expected.epochs)
    assert planned(found)[-2].startswith("To do: 1 run; time")


@pytest.mark.parametrize(
    ("rerun", "actions"),
    [
        ("none", ["skip", "skip"]),
        ("failed", ["skip", "resume from epoch 3"]),
        ("all", ["run again", "resume from epoch 3"]),
    ],
)
def test_rerun_is_heeded(
    asked: Callable[..., list[PlannedRun]], put: Put, planned: Plan, rerun: str, actions: list[str]
) -> None:
    found = asked(f"seed=0 sweep.rerun={rerun}", f"seed=1 sweep.rerun={rerun}")
    put(found[0], status="done")
    put(found[1], status="failed", epoch=3)
    lines = planned(found)
    assert [line.split(" | ")[-1] for line in lines[:2]] == actions
    assert lines[2].startswith(f"To do: {counted(2 - actions.count('skip'), 'run')}; ")


def test_time_is_estimated_by_hand(
    asked: Callable[..., list[PlannedRun]], put: Put, planned: Plan
) -> None:
    found = asked(*(f"loss=hard seed={seed}" for seed in range(4)))
    assert UNKNOWN in planned(found)[-2]
    put(found[0], status="failed", images_per_second=9.0)
    assert UNKNOWN in planned(found)[-2], "a failed run says nothing of speed"
    put(found[0], status="done", images_per_second=9.0)
    found[0].expected.paths.weights.unlink()
    assert UNKNOWN in planned(found)[-2], "nor does a kept one, which has run elsewhere"
    put(found[0], status="done", images_per_second=100.0)
    put(found[1], status="done", images_per_second=300.0)
    put(found[2], status="interrupted", epoch=4, images_per_second=1.0)
    # 1293 images of an epoch at the median of 100 and 300 a second; 6 and 10 epochs: 103 seconds.
    # A run is 6.1 MB.
    assert planned(found)[-2] == (
        "To do: 2 runs; time: 1:43 of one process, by the speed of earlier runs here; disk: 12 MB"
    )


def test_one_run_beside_others_is_no_speed(
    asked: Callable[..., list[PlannedRun]], put: Put, planned: Plan
) -> None:
    """One that had the machine for itself, say: the median counts."""
    *found, left = asked(*(f"loss=hard seed={seed}" for seed in range(4)))
    for run, speed in zip(found, (129.3, 129.3, 1293.0), strict=True):
        put(run, status="done", images_per_second=speed)
    assert "time: 1:40 of one process" in planned([left])[-2]


def test_a_teachers_speed_is_not_a_students(
    asked: Callable[..., list[PlannedRun]], put: Put, planned: Plan
) -> None:
    teacher, student = asked("model=teacher", "loss=hard seed=1")
    put(teacher, status="done", images_per_second=100.0)
    assert UNKNOWN in planned([teacher, student])[-2]
    assert UNKNOWN not in planned([teacher])[-2]


def test_a_run_again_is_a_whole_run(
    asked: Callable[..., list[PlannedRun]], put: Put, planned: Plan
) -> None:
    [one] = asked("sweep.rerun=all")
    put(one, status="done", epoch=10, images_per_second=129.3)
    assert "To do: 1 run; time: 1:40 of one process" in planned([one])[-2]


def test_teachers_that_students_read_are_counted(
    asked: Callable[..., list[PlannedRun]], planned: Plan, tmp_path: Path
) -> None:
    found = asked(
        *("loss=hard", "model=teacher", "loss=soft", "loss=soft_hard", "loss=soft seed=1")
    )
    assert planned(found)[-1] == "Teachers that students need: 2, of which 0 are trained"
    identity = identity_of(teacher_of(found[2].config), found[2].config.data.identity())
    paths = RunPaths(tmp_path / "teachers" / identity)
    paths.directory.mkdir(parents=True)
    for status, trained in (("running", 0), ("failed", 0), ("done", 1)):
        made_up(identity=identity, status=status, images_per_second=1.0).write(paths)
        assert planned(found)[-1].endswith(f"2, of which {trained} are trained")
    assert planned(asked("loss=hard"))[-1] == (
        "Teachers that students need: 0, of which 0 are trained"
    )


@pytest.fixture
def put_teacher(tmp_path: Path) -> Put:
    """Writes the record of a student's teacher, or of a teacher, into the store."""

    def of(run: PlannedRun, **changes: Any) -> None:
        config = run.config if run.config.is_teacher else teacher_of(run.config)
        identity = identity_of(config, config.data.identity())
        paths = RunPaths(tmp_path / "teachers" / identity)
        paths.directory.mkdir(parents=True, exist_ok=True)
        known = {"identity": identity, "model": "teacher", "images_per_second": 129.3}
        made_up(**known | changes).write(paths)
        paths.weights.touch()

    return of


def test_the_time_of_missing_teachers_is_counted_once_each(
    asked: Callable[..., list[PlannedRun]], put: Put, put_teacher: Put, planned: Plan
) -> None:
    # Students at 1293 images a second, so a second an epoch; teachers take ten of them.
    *found, other, trained = asked(
        *("loss=soft", "loss=soft_hard", "loss=hard seed=1 schedule.epochs=20"),
        *("loss=soft seed=1 teacher.schedule.epochs=7", "loss=soft seed=2"),
    )
    put(found[2], images_per_second=1293.0)
    assert planned(found)[-2] == (f"To do: 2 runs; missing teachers: 1; {UNKNOWN}; disk: 18 MB")
    put_teacher(trained)
    cost = "of one process, by the speed of earlier runs here"
    for runs_, text in (
        # Two students of ten epochs and their teacher, also of ten.
        (found, f"2 runs; missing teachers: 1; time: 2:00 {cost}; disk: 18 MB"),
        # A student whose teacher has another schedule: ten epochs, and seven.
        ([other], f"1 run; missing teachers: 1; time: 1:20 {cost}; disk: 12 MB"),
        ([trained], f"1 run; time: 0:10 {cost}; disk: 6 MB"),
    ):
        assert planned(runs_)[-2] == f"To do: {text}"

    # What has begun is not begun anew, and what nobody is left to read is not trained.
    put_teacher(found[0], status="interrupted", epoch=4)
    assert "time: 1:20 of" in planned(found)[-2]
    for student in found[:2]:
        put(student, images_per_second=1293.0)
    assert planned(found)[-2].startswith("To do: 0 runs; time: 0:00 ")


def test_a_teacher_that_is_a_run_itself_is_counted_there(
    asked: Callable[..., list[PlannedRun]], put: Put, put_teacher: Put, planned: Plan
) -> None:
    *found, other = asked("model=teacher", "loss=soft", "loss=hard seed=1")
    put(other, images_per_second=1293.0)
    put_teacher(asked("model=teacher seed=9")[0])
    assert planned(found)[-2].startswith("To do: 2 runs; time: 1:50 of one process")

    # Trained for a student, it is but copied; not so where the store has lost it.
    put_teacher(found[0])
    first, *_, cost, _ = planned(found)
    assert first == "teacher seed 0 | stored | copy from the store"
    assert cost.startswith("To do: 1 run; teachers to copy from the store: 1; time: 0:10 of one")
    [again] = asked("model=teacher sweep.rerun=all")
    put(again, images_per_second=129.3)
    assert planned([again])[0] == "teacher seed 0 | done | copy from the store"
    put_teacher(again, status="failed", epoch=0)
    first, *_, cost, _ = planned([again])
    assert first == "teacher seed 0 | done | run again"
    assert cost.startswith("To do: 1 run; time: 1:40 of one process")


def test_earlier_records_are_read_once_whatever_the_number_of_runs(
    asked: Callable[..., list[PlannedRun]], put: Put, planned: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def reading(paths: RunPaths) -> RunRecord | None:
        read.append(paths.directory.name)
        return runs.known_record(paths)

    found = asked(*(f"loss=hard seed={seed}" for seed in range(5)))
    for run in found[:2]:
        put(run, status="done")
    monkeypatch.setattr("bitstill.sweep.preview.known_record", reading)
    planned(found)
    assert sorted(read) == sorted(run.expected.paths.directory.name for run in found[:2])


def test_a_damaged_record_is_a_run_to_do(
    asked: Callable[..., list[PlannedRun]],
    put: Put,
    planned: Plan,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = asked("loss=hard seed=0", "loss=hard seed=1")
    for run in found:
        put(run, status="done", images_per_second=1293.0)
    damaged = found[0].expected.paths.record
    damaged.write_bytes(damaged.read_bytes()[:50])
    assert planned(found)[:2] == [
        "hard T=15 seed 0 | missing | run",
        "hard T=15 seed 1 | done | skip",
    ]
    [line] = caplog.messages
    assert line.startswith(f"{damaged} is damaged")


def test_plan_takes_what_train_takes_and_does_nothing(
    show: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(config: TrainConfig, directory: Path, **options: bool) -> RunRecord:
        raise AssertionError("trained")

    monkeypatch.setattr(bitstill.train, "run", run)
    monkeypatch.chdir(tmp_path)
    arguments = [*SMALL, f"paths.output={tmp_path / 'output'}", "seed=0,1"]
    code, out, err = show("experiment=table1", "data=digits", *arguments)
    assert (code, err) == (0, "")
    assert re.findall(r"│ (.*?) +│ missing +│ run ", out) == [
        *("teacher seed 0", "teacher seed 1", "hard T=15 seed 0", "hard T=15 seed 1")
    ]
    assert "4 runs" in out
    assert f"To do: 4 runs; {UNKNOWN}; disk: 24 MB" in out
    assert not list(tmp_path.iterdir()), "something was written"


def test_a_wrong_plan_is_one_line(show: Train, tmp_path: Path) -> None:
    code, out, err = show("seed=0,-1", f"paths.output={tmp_path}")
    assert (code, out) == (2, "")
    assert err.startswith("bitstill: seed = -1 is not allowed")
    assert len(err.splitlines()) == 1


def test_a_teacher_killed_behind_its_last_epoch_is_missing(
    asked: Callable[..., list[PlannedRun]], put_teacher: Put, planned: Plan
) -> None:
    found = asked("loss=soft")
    put_teacher(found[0], status="running", epoch=10)
    assert "missing teachers: 1" in planned(found)[-2]
    assert planned(found)[-1].endswith("1, of which 0 are trained")


def test_the_speed_of_teachers_in_a_store_elsewhere_counts(
    asked: Callable[..., list[PlannedRun]], put: Put, planned: Plan, tmp_path: Path
) -> None:
    store = tmp_path / "away" / "store"
    student, other = asked(*(f"loss=soft seed={seed} paths.teachers={store}" for seed in (0, 1)))
    put(other, images_per_second=1293.0)
    paths = RunPaths(store / ("a" * 64))
    paths.directory.mkdir(parents=True)
    made_up(identity="a" * 64, model="teacher", images_per_second=129.3).write(paths)
    paths.weights.touch()
    assert "time: 1:50 of one process" in planned([student])[-2]


def test_names_are_no_markup(asked: Callable[..., list[PlannedRun]], planned: Plan) -> None:
    [one] = asked("loss=hard")
    expected = dataclasses.replace(one.expected, difference="tags=[red]")
    named = dataclasses.replace(one, expected=expected)
    assert planned([named])[0] == "hard T=15 seed 0, tags=[red] | missing | run"
