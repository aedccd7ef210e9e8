"""What is said in the terminal."""

import contextlib
import dataclasses
import functools
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from rich.console import Console
from tests.asked import (
    ONE,
    SELECTIONS,
    TEACHER,
    expected,
    put,
    sweeps_folder,
    teacher,
    worked_on,
)
from tests.conftest import Train, made_up, read_only

from bitstill.configuration.check import check
from bitstill.report.sweeps import Run
from bitstill.runs import RunPaths, status
from bitstill.runs.identity import portable_config
from bitstill.runs.locks import exclusive
from bitstill.runs.manifest import Expected, write_manifest
from bitstill.runs.status import look
from bitstill.sweep import console
from bitstill.sweep.queue import remember

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (75, "1:15"),
        (3600, "1:00:00"),
        (7325, "2:02:05"),
    ],
)
def test_a_time_is_shown_as_on_a_clock(seconds: float, shown: str) -> None:
    assert console.clock(seconds) == shown


def test_tables_of_nothing_are_nothing(capfd: Captured) -> None:
    console.print_tables([])
    assert capfd.readouterr().out == ""


def test_the_next_command_can_be_pasted(default_run: DictConfig, capfd: Captured) -> None:
    run = Run(
        RunPaths(Path("my [old] sweep/run")), made_up(config=portable_config(check(default_run)))
    )
    console.print_tables([run])
    assert capfd.readouterr().out.endswith(": bitstill report 'my [old] sweep'\n")


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_a_run_that_is_not_done_is_shown_as_such(
    default_run: DictConfig, status: Any, capfd: Captured
) -> None:
    record = made_up(status=status, config=portable_config(check(default_run)))
    console.print_tables([Run(RunPaths(Path("run")), record)])
    row = re.search(r" hard .*", capfd.readouterr().out)  # in 80 columns T=15 may go below
    assert row is not None
    assert {"running": "unfinished", "interrupted": "unfinished"}.get(status, status) in row[0]


def test_each_of_several_sets_of_tables_has_its_name(
    default_run: DictConfig, capfd: Captured
) -> None:
    plain = portable_config(check(default_run))
    other = {**plain, "quantizer": {**plain["quantizer"], "weight_bits": 1}}
    records = [made_up(config=plain), made_up(config=other, identity="b" * 64)]
    console.print_tables([Run(RunPaths(Path("run")), one) for one in records])
    shown = capfd.readouterr().out
    assert shown.index("default (quantizer.weight_bits=2)") < shown.index("=1)")
    assert shown.count("Table 1") == 2


@pytest.mark.parametrize("columns", [80, 120])
def test_a_run_is_a_line_of_status(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for seed, seconds in enumerate((4049.0, 75.0)):
        row = {"epoch": 60, "test/accuracy": 0.885}
        chosen = {"running": dict.fromkeys(("last", "best_val", "best_test"), row)}
        paths = RunPaths(tmp_path / f"run-{seed}")
        paths.directory.mkdir()
        made_up(
            **{"loss": "soft_hard", "temperature": 100.0, "seed": seed, "seconds": seconds},
            **{"epoch": 60, "epochs": 60, "selections": chosen},
        ).write(paths)
    console.show_status(tmp_path, watch=False, as_json=False)
    *lines, last = capfd.readouterr().out.splitlines()
    assert last == "2/2 done"
    assert [line.split("  ")[0] for line in lines] == [f"soft_hard T=100 seed {n}" for n in (0, 1)]
    for line, took in zip(lines, ("1:07:29", "   1:15"), strict=True):
        assert line.endswith(f"60/60 epochs  test  88.5 % (running)  {took}")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A terminal of 24 lines."""
    found = Console(file=io.StringIO(), force_terminal=True, width=100, height=24)
    monkeypatch.setattr(console, "output_console", lambda: found)
    return found


def many(folder: Path) -> list[Expected]:
    expected = [
        Expected("hard T=15", seed, f"{seed:064x}", 60, RunPaths(folder / f"run-{seed}"))
        for seed in range(40)
    ]
    write_manifest(folder, expected)
    return expected


def test_who_watches_sees_what_is_at_work_and_how_far_all_is(
    tmp_path: Path, terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, seen = many(tmp_path), []

    def look_at(seconds: float) -> None:
        assert isinstance(terminal.file, io.StringIO)
        seen.append(terminal.file.getvalue())

    goes_on = iter([True, False])
    monkeypatch.setattr(console, "_goes_on", lambda states, stopped: next(goes_on))
    monkeypatch.setattr("bitstill.sweep.console.time.sleep", look_at)
    with exclusive(expected[35].paths):
        console.show_status(tmp_path, watch=True, as_json=False)
    look_at(0)
    for text, rows in zip(seen, (22, 22 + 22 + 40), strict=True):
        assert text.count("hard T=15 seed") == rows, "at the end all of them"
        assert "seed 35  running" in text
        assert "0/40 done, 1 running, 39 missing" in text


def test_the_error_of_a_run_is_whole_but_for_who_watches(
    tmp_path: Path, terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder's name in it may be longer than a line."""
    name = "/folder" * 30
    first = many(tmp_path)[0]
    first.paths.directory.mkdir()
    error = {"type": "UserError", "message": name, "traceback": ""}
    made_up(status="failed", error=error, identity=first.identity).write(first.paths)
    monkeypatch.setattr(console, "_goes_on", lambda states, stopped: False)
    assert isinstance(terminal.file, io.StringIO)
    for watch in (True, False):
        console.show_status(tmp_path, watch=watch, as_json=False)
        view, _, last = terminal.file.getvalue().partition("0/40 done")
        assert view.count("hard T=15 seed") == (22 if watch else 41)
        assert (name in re.sub(r"\s", "", view)) != watch
        assert (name in re.sub(r"\s", "", last)) == watch, "as it stays"
        terminal.file.truncate(terminal.file.seek(0))


def test_so_does_who_waits_for_many_at_once(tmp_path: Path, terminal: Console) -> None:
    expected = many(tmp_path)
    with contextlib.ExitStack() as held:
        for one in expected:
            held.enter_context(exclusive(one.paths))
        terminal.print(console._Watch(expected))
    assert isinstance(terminal.file, io.StringIO)
    *rows, last = terminal.file.getvalue().splitlines()
    assert len(rows) == 22
    assert "0/40 done, 40 running" in last


def test_a_student_that_waits_for_its_teacher_shows_how_far_that_is(
    folder: Path, show: Train
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sweeps_folder(tmp_path)


@pytest.fixture
def show(command: Train) -> Train:
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


def test_status_shows_every_state(show: Train, swept: Path) -> None:
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


def test_status_for_programs(show: Train, swept: Path) -> None:
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
    show: Train, swept: Path, monkeypatch: pytest.MonkeyPatch
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


def test_status_changes_nothing(show: Train, swept: Path) -> None:
    def contents() -> dict[Path, bytes]:
        found = (path for path in swept.parent.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in found if path.name != "run.lock"}

    before = contents()
    assert show(str(swept))[0] == 0
    assert contents() == before


def test_a_program_does_not_watch(show: Train, swept: Path) -> None:
    code, _, err = show(str(swept), "--watch", "--json")
    assert (code, err) == (2, "bitstill: --watch --json is not allowed: give one of them\n")


@pytest.mark.parametrize("options", [[], ["--json"], ["--watch"]])
def test_status_of_nothing_is_one_line(show: Train, tmp_path: Path, options: list[str]) -> None:
    code, out, err = show(str(tmp_path), *options)
    assert (code, out) == (2, "")
    assert err == (
        f"bitstill: {tmp_path} holds no runs: give the folder of a sweep, such as multirun/quick\n"
    )


def test_status_of_a_damaged_record_is_a_missing_run_and_one_warning(
    show: Train, swept: Path, caplog: pytest.LogCaptureFixture
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


def test_status_of_another_versions_record_is_one_line(show: Train, swept: Path) -> None:
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
    show: Train, folder: Path, monkeypatch: pytest.MonkeyPatch
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
    show: Train, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sweep.on_failure=stop, runs that have not begun do not begin."""
    write_manifest(folder, [expected(folder, "a", ONE)])
    status.stop_sign(folder).touch()
    monkeypatch.setattr("bitstill.sweep.console.time.sleep", lambda _: pytest.fail("it waits"))
    code, out, err = show(str(folder), "--watch")
    assert (code, err) == (0, "")
    assert "0/1 done, 1 missing" in out


def test_status_reads_a_folder_that_cannot_be_written(show: Train, swept: Path) -> None:
    """As of a colleague, or of an archive."""
    with read_only(swept):
        code, out, err = show(str(swept))
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("1/6 done, 1 running, 1 failed, 1 interrupted")
