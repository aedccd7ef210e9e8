"""Conducting a sweep: what is launched, what is said, and what came of it."""

import functools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from rich.console import Console
from tests.conftest import SMALL, Plan, Train
from tests.sweep.conftest import FINE, TOO_HIGH

from bitstill import runs
from bitstill.errors import SweepFailedError, UserError
from bitstill.loggers.logged import mark_logged
from bitstill.loggers.wandb_files import mark_sent
from bitstill.runs.locks import exclusive
from bitstill.runs.status import sweep_states
from bitstill.sweep import conductor, console
from bitstill.sweep.plan import PlannedRun

Captured = pytest.CaptureFixture[str]
Write = Callable[..., None]
LUCK = {"type": "ValueError", "message": "bad luck\nand more", "traceback": "..."}


def returned(status: JobStatus, value: Any = None) -> JobReturn:
    result = JobReturn()
    result.status, result.return_value = status, value
    return result


def test_without_a_terminal_a_finished_run_is_a_line(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    launched: list[list[str]] = []

    def launch(jobs: list[list[str]]) -> list[Any]:
        launched.extend(jobs)
        for run in planned:
            write(run)
        return [returned(JobStatus.COMPLETED) for _ in jobs]

    conductor.conduct(planned, tmp_path, launch)
    assert launched == [["loss=hard", "seed=0"], ["loss=hard", "seed=1"]]
    out, err = capfd.readouterr()
    first, *lines = err.splitlines()
    assert first == "2 runs: 0 skipped, 2 to do"
    assert [line.partition("] ")[2] for line in lines] == [
        "hard T=15 seed 0: done test  62.5 % (exact)  1:15",
        "hard T=15 seed 1: done test  62.5 % (exact)  1:15",
    ]
    assert lines[-1].startswith("[2/2 done] ")
    assert "Table 1" in out
    assert "\x1b" not in out + err, "escape codes in a pipe"


def wait_for(text: str, capfd: Captured) -> str:
    """Wait until progress has said a text; return all that was said since it was last read."""
    said, end = "", time.monotonic() + 60
    while text not in said:
        assert time.monotonic() < end, said
        time.sleep(0.01)
        said += capfd.readouterr().err
    return said


def test_without_a_terminal_a_line_now_and_then_says_how_far_runs_are(
    planned: list[PlannedRun],
    write: Write,
    tmp_path: Path,
    capfd: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "_QUIET_SECONDS", 0.2)

    def launch(jobs: list[list[str]]) -> list[Any]:
        write(planned[0], "running")
        with exclusive(planned[0].expected.paths):
            said.append(wait_for(line, capfd))
            said.append(wait_for(line, capfd))  # and again
        for run in planned:
            write(run)
        return [returned(JobStatus.COMPLETED) for _ in jobs]

    line, said = "hard T=15 seed 0: 1/1 epochs\n", list[str]()
    conductor.conduct(planned, tmp_path, launch)
    assert re.search(r"\[0/2 done, 1 running, 1 missing, about \d:\d\d left\] hard", said[-1])


def test_an_estimate_needs_a_finished_epoch(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    def launch(jobs: list[list[str]]) -> list[Any]:
        write(planned[0])
        said.append(wait_for("seed 0: done", capfd))
        write(planned[1])
        return [returned(JobStatus.COMPLETED) for _ in jobs]

    said: list[str] = []
    conductor.conduct(planned, tmp_path, launch)
    _, first, second = (said[0] + capfd.readouterr().err).splitlines()
    # 75 seconds for the one epoch so far, and one epoch is left.
    assert first.startswith("[1/2 done, 1 missing, about 1:15 left] hard T=15 seed 0: done")
    assert second.startswith("[2/2 done] hard T=15 seed 1: done")


def test_what_is_done_is_not_launched(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    launched: list[list[str]] = []

    def launch(jobs: list[list[str]]) -> list[Any]:
        launched.extend(jobs)
        write(planned[1])
        return [returned(JobStatus.COMPLETED)]

    write(planned[0])
    conductor.conduct(planned, tmp_path, launch)
    assert launched == [["loss=hard", "seed=1"]]
    out, err = capfd.readouterr()
    assert err.startswith("2 runs: 1 skipped, 1 to do\n")
    assert re.search(r"hard T=15.* 2 *$", out, re.MULTILINE), "the table is of all runs"


def test_a_sweep_that_is_done_shows_its_tables_alone(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    for run in planned:
        write(run)

    def launch(jobs: list[list[str]]) -> list[Any]:
        raise AssertionError("launched")

    conductor.conduct(planned, tmp_path, launch)
    out, err = capfd.readouterr()
    assert err == "2 runs: 2 skipped, 0 to do\n"
    assert "62.5" in out


def test_what_wandb_has_not_sent_is_said(
    plan_runs: Plan, tmp_path: Path, write: Write, capfd: Captured
) -> None:
    """However it was logged: mode=online sends nothing that was logged offline."""
    planned = plan_runs("logger=wandb logger.wandb.mode=online")
    folder = planned[0].config.folder
    write(planned[0])
    mark_logged(planned[0].expected.paths, ["wandb bitstill"])
    for name in ("offline-run-1-a", "run-2-b", "offline-run-3-c"):
        file = folder / "wandb" / name / f"run-{name[-1]}.wandb"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"more than a header")
    mark_sent(file)
    conductor.conduct(planned, folder, lambda jobs: pytest.fail("launched"))
    line = f"2 runs of wandb not sent: bitstill sync {folder} sends them\n"
    assert capfd.readouterr().err.endswith(line)


@pytest.mark.parametrize(
    ("recorded", "raised", "named"),
    [
        (LUCK, ValueError("bad luck"), "ValueError: bad luck"),
        (None, OSError("no space\nat all"), "OSError: no space"),  # as on a full disk
    ],
    ids=["recorded", "not recorded"],
)
def test_failures_are_named_after_everything_else(
    planned: list[PlannedRun],
    write: Write,
    tmp_path: Path,
    capfd: Captured,
    recorded: dict[str, str] | None,
    raised: Exception,
    named: str,
) -> None:
    def launch(jobs: list[list[str]]) -> list[Any]:
        if recorded is not None:
            write(planned[0], "failed", error=recorded)
        write(planned[1])
        return [returned(JobStatus.FAILED, raised), returned(JobStatus.COMPLETED)]

    with pytest.raises(SweepFailedError) as caught:
        conductor.conduct(planned, tmp_path, launch)
    assert str(caught.value) == (
        "1 of 2 runs are not done:\n"
        f"  hard T=15 seed 0: {named} ({planned[0].expected.paths.directory})"
    )
    assert "Table 1" in capfd.readouterr().out


def test_tables_that_cannot_be_made_hide_no_failure(
    planned: list[PlannedRun],
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Captured,
) -> None:
    def refuse(runs: object) -> None:
        raise UserError("a file that they read is damaged: move it away")

    def launch(jobs: list[list[str]]) -> list[Any]:
        write(planned[0], "failed", error=LUCK)
        write(planned[1])
        return [returned(JobStatus.FAILED, ValueError("bad luck")), returned(JobStatus.COMPLETED)]

    monkeypatch.setattr(conductor, "print_tables", refuse)
    with pytest.raises(SweepFailedError, match="hard T=15 seed 0: ValueError: bad luck"):
        conductor.conduct(planned, tmp_path, launch)
    said = "bitstill: no tables: a file that they read is damaged: move it away\n"
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_a_run_that_its_process_has_left_is_named(
    planned: list[PlannedRun], write: Write, tmp_path: Path, status: Any
) -> None:
    """Without a failure, and perhaps without a word: the sweep is not done."""

    def launch(jobs: list[list[str]]) -> list[Any]:
        write(planned[0])
        write(planned[1], status)
        return [returned(JobStatus.COMPLETED) for _ in jobs]

    with pytest.raises(SweepFailedError) as caught:
        conductor.conduct(planned, tmp_path, launch)
    assert str(caught.value) == (
        "1 of 2 runs are not done:\n"
        f"  hard T=15 seed 1: interrupted ({planned[1].expected.paths.directory})"
    )


@pytest.mark.parametrize(
    ("count", "said"), [(1, "1 finished run is not wholly"), (2, "2 finished runs are not wholly")]
)
def test_what_a_logger_has_not_had_is_counted(
    plan_runs: Plan, write: Write, capfd: Captured, count: int, said: str
) -> None:
    planned = plan_runs("seed=0", "seed=1", common=["logger=tensorboard"])

    def launch(jobs: list[list[str]]) -> list[Any]:
        for run in planned:
            write(run)
        for run in planned[count:]:
            mark_logged(run.expected.paths, ["tensorboard"])
        return [returned(JobStatus.COMPLETED) for _ in jobs]

    conductor.conduct(planned, planned[0].config.folder, launch)
    line = f"{said} logged (train.log says why): the same command goes on"
    assert line in capfd.readouterr().err.splitlines()


def test_a_summary_that_wandb_does_not_take_ends_no_sweep(
    plan_runs: Plan,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: Captured,
) -> None:
    """Its runs are done, whatever wandb says."""

    def refuse(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("bitstill.loggers.summary.log_summary", refuse)
    planned = plan_runs("logger=wandb")

    def launch(jobs: list[list[str]]) -> list[Any]:
        write(planned[0])
        mark_logged(planned[0].expected.paths, ["wandb bitstill"])
        return [returned(JobStatus.COMPLETED)]

    conductor.conduct(planned, planned[0].config.folder, launch)
    assert caplog.messages == ["the sweep's summary is not logged to wandb: no space"]
    assert "Table 1" in capfd.readouterr().out


def test_a_launcher_that_breaks_is_heard(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    def launch(jobs: list[list[str]]) -> list[Any]:
        write(planned[0])
        raise OSError("no cluster")

    with pytest.raises(OSError, match="no cluster"):
        conductor.conduct(planned, tmp_path, launch)
    assert "hard T=15 seed 0: done test" in capfd.readouterr().err, "what had finished is told"


def test_on_a_terminal_there_is_a_live_table(
    planned: list[PlannedRun],
    write: Write,
    tmp_path: Path,
    capfd: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = functools.partial(Console, force_terminal=True, width=100)
    for module in (conductor, console):
        monkeypatch.setattr(module, "Console", terminal)

    def launch(jobs: list[list[str]]) -> list[Any]:
        write(planned[0])
        with exclusive(planned[1].expected.paths):
            write(planned[1], "running")
            said.append(wait_for("1 running", capfd))
            write(planned[1])
        return [returned(JobStatus.COMPLETED) for _ in jobs]

    said: list[str] = []
    conductor.conduct(planned, tmp_path, launch)
    err = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said[0] + capfd.readouterr().err)
    assert "1/2 done, 1 running" in err
    assert re.search(r"hard T=15 seed 0 +done .*1/1 epochs +test  62\.5 % \(exact\)  1:15", err)
    assert re.search(r"hard T=15 seed 1 +running .*1/1 epochs", err)
    assert "[2/2 done" not in err, "plain lines are for pipes"


def test_what_is_run_again_is_for_rerun_to_say(
    plan_runs: Plan, write: Write, tmp_path: Path, capfd: Captured
) -> None:
    launched: list[str] = []

    def swept(rerun: str) -> tuple[list[str], str]:
        seeds = (f"seed={seed}" for seed in range(4))
        planned = plan_runs(*seeds, common=[f"sweep.rerun={rerun}"])
        write(planned[0])
        write(planned[1], "failed", error=LUCK)
        write(planned[2], "interrupted")

        def launch(jobs: list[list[str]]) -> list[Any]:
            launched[:] = [job[-1] for job in jobs]
            for run in planned:
                if list(run.overrides) in jobs:
                    write(run)
            return [returned(JobStatus.COMPLETED) for _ in jobs]

        try:
            conductor.conduct(planned, tmp_path, launch)
        except SweepFailedError as failure:
            return launched, str(failure)
        return launched, ""

    seeds, failure = swept("none")
    assert seeds == ["seed=2", "seed=3"]
    assert failure.startswith("1 of 4 runs are not done:\n  hard T=15 seed 1: ValueError: bad luck")
    assert capfd.readouterr().err.startswith("4 runs: 2 skipped, 2 to do\n")
    assert swept("failed") == (["seed=1", "seed=2"], "")  # seed 3 is done by now
    assert swept("all") == (["seed=0", "seed=1", "seed=2", "seed=3"], "")


def test_a_sweep_says_in_its_folder_what_it_asks_for(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    """Before it begins: so that a status knows of runs that have not begun."""
    folder = tmp_path / "default"
    seen: list[str] = []

    def launch(jobs: list[list[str]]) -> list[Any]:
        seen.extend(state.status for state in sweep_states(folder))
        for run in planned:
            write(run)
        return []

    conductor.conduct(planned, folder, launch)
    assert seen == ["missing", "missing"]
    assert [state.status for state in sweep_states(folder)] == ["done", "done"]


def test_what_is_run_again_is_news_when_it_has_ended(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    write(planned[0], "failed", error=LUCK)

    def launch(jobs: list[list[str]]) -> list[Any]:
        time.sleep(2 * console._POLL_SECONDS)
        for run in planned:
            write(run)
        return []

    conductor.conduct(planned, tmp_path, launch)
    _, *lines = capfd.readouterr().err.splitlines()
    assert [line.partition("] ")[2].split(" test")[0] for line in lines] == [
        "hard T=15 seed 0: done",
        "hard T=15 seed 1: done",
    ]


def test_a_detached_sweep_returns_at_once(plan_runs: Plan, tmp_path: Path, capfd: Captured) -> None:
    planned = plan_runs("seed=0", "seed=1", common=["sweep.detach=true"])
    launched: list[list[str]] = []

    def launch(jobs: list[list[str]]) -> list[Any]:
        launched.extend(jobs)
        return []

    conductor.conduct(planned, tmp_path / "default", launch)
    assert launched == [["seed=0"], ["seed=1"]]
    out, err = capfd.readouterr()
    assert out == "", "there are no tables yet"
    assert "2 runs: 0 skipped, 2 to do\nsubmitted; bitstill status " in err
    assert "--watch says how far it is" in err
    assert [state.status for state in sweep_states(tmp_path / "default")] == ["missing"] * 2


@pytest.mark.slow
def test_stop_starts_no_further_run_and_the_next_command_does(train: Train, tmp_path: Path) -> None:
    same = ["-m", *SMALL, f"paths.output={tmp_path}", "name=mine"]
    rates = f"schedule.learning_rates={TOO_HIGH},{FINE}"  # the failing one is first
    code, _, err = train(*same, rates, "sweep.on_failure=stop")
    assert code == 1
    [failed] = runs.load_sweep(tmp_path / "mine")
    assert failed.status == "failed"
    *_, headline, first, second = err.splitlines()
    assert headline == "bitstill: 2 of 2 runs are not done:"
    name = "  hard T=15 seed 0, schedule.learning_rates="
    assert first.startswith(f"{name}[1e+36,1e+36,1e+36]: DivergedError: ")
    assert second == f"{name}{FINE}: not started, sweep.on_failure=stop"

    # What has failed is left as it is, and what was not started is run.
    code, _, err = train(*same, rates, "sweep.on_failure=stop", "sweep.rerun=none")
    assert code == 1
    assert err.startswith("2 runs: 1 skipped, 1 to do\n")
    assert err.splitlines()[-2] == "bitstill: 1 of 2 runs are not done:"
    assert [record.status for record in runs.load_sweep(tmp_path / "mine")].count("done") == 1
