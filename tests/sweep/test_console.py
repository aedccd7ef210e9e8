"""What is said in the terminal."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from rich.console import Console
from tests.conftest import made_up

from bitstill.configuration.check import check
from bitstill.report.sweeps import Run
from bitstill.runs import RunPaths
from bitstill.runs.identity import portable_config
from bitstill.runs.locks import exclusive
from bitstill.runs.manifest import Expected, write_manifest
from bitstill.sweep import console

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
