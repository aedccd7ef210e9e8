"""Conducting a sweep: what is launched, what is said, and what came of it."""

import functools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig
from rich.console import Console

from bitstill import conductor, console, runs
from bitstill.errors import SweepFailedError
from bitstill.runs import Row, RunRecord
from bitstill.sweep import Cell, plan

Captured = pytest.CaptureFixture[str]
Write = Callable[..., None]
ACCURACY: Row = {"epoch": 1, "val/accuracy": 0.5, "test/accuracy": 0.625}
LUCK = {"type": "ValueError", "message": "bad luck\nand more", "traceback": "..."}


@pytest.fixture
def cells(
    compose_run: Callable[..., DictConfig], small: tuple[str, ...], tmp_path: Path
) -> list[Cell]:
    overrides = [("loss=hard", "seed=0"), ("loss=hard", "seed=1")]
    return plan(overrides, lambda one: compose_run(*small, f"paths.output={tmp_path}", *one))


@pytest.fixture
def write(made_up: Callable[..., RunRecord]) -> Write:
    """Writes the record that training would have written."""

    def of(cell: Cell, status: runs.Status = "done", **changes: Any) -> None:
        paths = cell.expected.paths
        paths.directory.mkdir(parents=True, exist_ok=True)
        chosen: dict[str, Row | None] = dict.fromkeys(("last", "best_val", "best_test"), ACCURACY)
        known: dict[str, Any] = {
            "status": status,
            "identity": cell.expected.identity,
            "seed": cell.config.seed,
            "config": runs.portable(cell.config),
            "seconds": 75.0,
            "selections": {"running": chosen, "precise": chosen},
            "sizes": {"weights_float32": 1_173_672},
        }
        made_up(**known | changes).write(paths)

    return of


def returned(status: JobStatus, value: Any = None) -> JobReturn:
    result = JobReturn()
    result.status, result.return_value = status, value
    return result


def test_without_a_terminal_a_finished_run_is_a_line(
    cells: list[Cell], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    launched: list[list[str]] = []

    def launch(jobs: list[list[str]]) -> list[Any]:
        launched.extend(jobs)
        for cell in cells:
            write(cell)
        return [returned(JobStatus.COMPLETED) for _ in jobs]

    assert len(conductor.conduct(cells, tmp_path, launch)) == 2
    assert launched == [["loss=hard", "seed=0"], ["loss=hard", "seed=1"]]
    out, err = capfd.readouterr()
    first, *lines = err.splitlines()
    assert first == "2 runs: 0 skipped, 2 to do"
    assert [line.partition("] ")[2] for line in lines] == [
        "hard T=15 seed 0: done test  62.5 %  1:15",
        "hard T=15 seed 1: done test  62.5 %  1:15",
    ]
    assert all(line.startswith("[2/2 done] ") for line in lines)
    assert "Table 1" in out
    assert "\x1b" not in out + err, "escape codes in a pipe"


def test_an_estimate_needs_a_finished_epoch(
    cells: list[Cell], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    def launch(jobs: list[list[str]]) -> list[Any]:
        write(cells[0])
        time.sleep(3 * console._POLL_SECONDS)  # seen while the second runs
        write(cells[1])
        return [returned(JobStatus.COMPLETED) for _ in jobs]

    conductor.conduct(cells, tmp_path, launch)
    _, first, second = capfd.readouterr().err.splitlines()
    # 75 seconds for the one epoch so far, and one epoch is left.
    assert first.startswith("[1/2 done, 1 missing, about 1:15 left] hard T=15 seed 0: done")
    assert second.startswith("[2/2 done] hard T=15 seed 1: done")


def test_what_is_done_is_not_launched(
    cells: list[Cell], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    launched: list[list[str]] = []

    def launch(jobs: list[list[str]]) -> list[Any]:
        launched.extend(jobs)
        write(cells[1])
        return [returned(JobStatus.COMPLETED)]

    write(cells[0])
    conductor.conduct(cells, tmp_path, launch)
    assert launched == [["loss=hard", "seed=1"]]
    out, err = capfd.readouterr()
    assert err.startswith("2 runs: 1 skipped, 1 to do\n")
    assert re.search(r"hard T=15.* 2 *$", out, re.MULTILINE), "the table is of all runs"


def test_a_sweep_that_is_done_shows_its_tables_alone(
    cells: list[Cell], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    for cell in cells:
        write(cell)

    def launch(jobs: list[list[str]]) -> list[Any]:
        raise AssertionError("launched")

    assert conductor.conduct(cells, tmp_path, launch) == []
    out, err = capfd.readouterr()
    assert err == "2 runs: 2 skipped, 0 to do\n"
    assert "62.5" in out


def test_failures_are_named_after_everything_else(
    cells: list[Cell], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    def launch(jobs: list[list[str]]) -> list[Any]:
        write(cells[0], "failed", error=LUCK)
        write(cells[1])
        return [
            returned(JobStatus.FAILED, ValueError("bad luck")),
            returned(JobStatus.COMPLETED),
        ]

    with pytest.raises(SweepFailedError) as caught:
        conductor.conduct(cells, tmp_path, launch)
    assert str(caught.value) == (
        "1 of 2 runs are not done:\n"
        f"  hard T=15 seed 0: ValueError: bad luck ({cells[0].expected.paths.directory})"
    )
    assert "Table 1" in capfd.readouterr().out


def test_a_launcher_that_breaks_is_heard(
    cells: list[Cell], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    def launch(jobs: list[list[str]]) -> list[Any]:
        write(cells[0])
        raise OSError("no cluster")

    with pytest.raises(OSError, match="no cluster"):
        conductor.conduct(cells, tmp_path, launch)
    assert "hard T=15 seed 0: done test" in capfd.readouterr().err, "what had finished is told"


def test_on_a_terminal_there_is_a_live_table(
    cells: list[Cell],
    write: Write,
    tmp_path: Path,
    capfd: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = functools.partial(Console, force_terminal=True, width=100)
    for module in (conductor, console):
        monkeypatch.setattr(module, "Console", terminal)

    def launch(jobs: list[list[str]]) -> list[Any]:
        write(cells[0])
        with runs.exclusive(cells[1].expected.paths):
            write(cells[1], "running")
            time.sleep(2 * console._POLL_SECONDS)
            write(cells[1])
        return [returned(JobStatus.COMPLETED) for _ in jobs]

    conductor.conduct(cells, tmp_path, launch)
    err = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capfd.readouterr().err)
    assert "1/2 done, 1 running" in err
    assert re.search(r"hard T=15 seed 0 +done .*1/1 epochs +test  62\.5 %  1:15", err)
    assert re.search(r"hard T=15 seed 1 +running .*1/1 epochs", err)
    assert "[2/2 done" not in err, "plain lines are for pipes"
