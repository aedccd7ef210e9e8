"""Runs whose worker process dies, or the one beside theirs: tried again, and not for ever."""

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn
from tests.conftest import Plan

from bitstill.errors import SweepFailedError
from bitstill.runs.status import look, stop_sign
from bitstill.sweep import conductor
from bitstill.sweep.plan import PlannedRun

Captured = pytest.CaptureFixture[str]
Write = Callable[..., None]
LUCK = {"type": "ValueError", "message": "bad luck\nand more", "traceback": "..."}


class Workers:
    """A launcher whose processes die, as loky's: with one, all of its jobs are lost."""

    def __init__(self, planned: list[PlannedRun], write: Write) -> None:
        self.cells, self.write = planned, write
        self.launched: list[list[str]] = []

    def __call__(self, jobs: list[list[str]]) -> list[Any]:
        self.launched.append([job[-1] for job in jobs])
        for run in self.cells:
            if list(run.overrides) in jobs:
                self.do(run)
        return [JobReturn() for _ in jobs]

    def do(self, run: PlannedRun) -> None:
        raise NotImplementedError


def test_after_a_death_what_is_left_is_launched_again(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    class Once(Workers):
        def do(self, run: PlannedRun) -> None:
            if run.config.seed == 1 and len(self.launched) == 1:
                write(run, "running")
                raise BrokenProcessPool("a worker is gone")
            write(run)

    launch = Once(planned, write)
    conductor.conduct(planned, tmp_path, launch)
    assert launch.launched == [["seed=0", "seed=1"], ["seed=1"]]
    assert "seed 1: done" in capfd.readouterr().err


def test_a_run_whose_process_dies_three_times_has_failed(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    class Deadly(Workers):
        def do(self, run: PlannedRun) -> None:
            if run.config.seed == 0:
                write(run, "running", seconds=float(len(self.launched)))
                raise BrokenProcessPool("a worker is gone")
            write(run)

    launch = Deadly(planned, write)
    with pytest.raises(SweepFailedError) as caught:
        conductor.conduct(planned, tmp_path, launch)
    assert launch.launched == [["seed=0", "seed=1"]] * 2 + [["seed=0"], ["seed=1"]], "at last alone"
    directory = planned[0].expected.paths.directory
    assert str(caught.value) == (
        "1 of 2 runs are not done:\n  hard T=15 seed 0: ProcessKilled: "
        f"its process was killed 3 times ({directory})"
    )
    assert look(planned[1].expected).status == "done"


@pytest.mark.parametrize("getting_on", [True, False])
def test_who_only_works_beside_a_deadly_run_does_not_fail(
    plan_runs: Plan,
    write: Write,
    tmp_path: Path,
    capfd: Captured,
    getting_on: bool,
) -> None:
    planned = plan_runs(*(f"seed={seed}" for seed in range(4)))

    class Deadly(Workers):
        def __call__(self, jobs: list[list[str]]) -> list[Any]:
            self.launched.append([job[-1] for job in jobs])
            at_work = [run for run in self.cells if list(run.overrides) in jobs]
            for run in at_work:
                done = len(self.launched) if getting_on and run.config.seed else 0
                write(run, "running", epoch=done, seconds=float(len(self.launched)))
            if ["seed=0"] in jobs:
                raise BrokenProcessPool("a worker is gone")
            for run in at_work:
                write(run)
            return [JobReturn() for _ in jobs]

    launch = Deadly(planned, write)
    with pytest.raises(SweepFailedError, match="1 of 4 runs are not done") as caught:
        conductor.conduct(planned, tmp_path, launch)
    assert "hard T=15 seed 0: ProcessKilled" in str(caught.value)
    everything, others = [f"seed={seed}" for seed in range(4)], [[f"seed={n}"] for n in (1, 2, 3)]
    rest = [everything[1:]] if getting_on else others
    assert launch.launched == [everything, everything, ["seed=0"], *rest]


def test_a_run_that_is_given_up_stops_its_sweep_where_that_is_asked_for(
    plan_runs: Plan, write: Write, tmp_path: Path
) -> None:
    seeds = (f"seed={seed}" for seed in range(3))
    planned = plan_runs(*seeds, common=["sweep.on_failure=stop"])

    class Deadly(Workers):
        def do(self, run: PlannedRun) -> None:
            write(run, "running", seconds=float(len(self.launched)))
            raise BrokenProcessPool("a worker is gone")

    launch, folder = Deadly(planned, write), planned[0].config.folder
    with pytest.raises(SweepFailedError, match="3 of 3 runs are not done") as caught:
        conductor.conduct(planned, folder, launch)
    assert launch.launched == [["seed=0", "seed=1", "seed=2"]] * 2 + [["seed=0"]]
    assert str(caught.value).count("not started, sweep.on_failure=stop") == 2
    assert stop_sign(folder).exists()


def test_a_run_whose_process_dies_behind_it_is_done(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    class Late(Workers):
        def do(self, run: PlannedRun) -> None:
            if run.config.seed == 0 and len(self.launched) < 3:
                write(run, "running", seconds=float(len(self.launched)))
                raise BrokenProcessPool("a worker is gone")
            write(run)
            if self.launched[-1] == ["seed=0"]:
                raise BrokenProcessPool("gone behind its run")

    launch = Late(planned, write)
    conductor.conduct(planned, tmp_path, launch)
    assert launch.launched == [["seed=0", "seed=1"]] * 2 + [["seed=0"], ["seed=1"]]
    assert [look(run.expected).status for run in planned] == ["done", "done"]


def test_a_run_alone_that_dies_before_it_begins_is_not_tried_for_ever(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    write(planned[1])
    launched = []

    def launch(jobs: list[list[str]]) -> list[Any]:
        launched.append(jobs)
        raise BrokenProcessPool("a worker is gone")

    with pytest.raises(SweepFailedError, match="seed 0: BrokenProcessPool: a worker is gone"):
        conductor.conduct(planned, tmp_path, launch)
    assert launched == [[["loss=hard", "seed=0"]]] * 3


def test_a_worker_that_dies_before_it_begins_is_not_tried_for_ever(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured
) -> None:
    launched = []

    def launch(jobs: list[list[str]]) -> list[Any]:
        launched.append(jobs)
        raise BrokenProcessPool("a worker is gone")

    with pytest.raises(SweepFailedError, match="2 of 2 runs are not done") as caught:
        conductor.conduct(planned, tmp_path, launch)
    assert len(launched) == 3
    directory = planned[0].expected.paths.directory
    named = f"\n  hard T=15 seed 0: BrokenProcessPool: a worker is gone ({directory})"
    assert named in str(caught.value)


@pytest.mark.parametrize("earlier", ["missing", "interrupted"])
def test_after_a_death_that_left_no_record_all_is_launched_again(
    planned: list[PlannedRun], write: Write, tmp_path: Path, capfd: Captured, earlier: str
) -> None:
    """Nor does it count against a run that an earlier sweep was interrupted in."""
    if earlier == "interrupted":
        write(planned[1], "interrupted")

    class Twice(Workers):
        def do(self, run: PlannedRun) -> None:
            if len(self.launched) < 3:
                raise BrokenProcessPool("a worker is gone")
            write(run)

    launch = Twice(planned, write)
    conductor.conduct(planned, tmp_path, launch)
    assert launch.launched == [["seed=0", "seed=1"]] * 3
    assert [look(run.expected).status for run in planned] == ["done", "done"]


def test_a_death_does_not_end_what_is_run_again(
    plan_runs: Plan, write: Write, tmp_path: Path, capfd: Captured
) -> None:
    planned = plan_runs(*(f"seed={seed}" for seed in range(3)), common=["sweep.rerun=all"])
    write(planned[1], "failed", error=LUCK)
    write(planned[2])

    class Once(Workers):
        def do(self, run: PlannedRun) -> None:
            if len(self.launched) == 1:
                write(run, "running")
                raise BrokenProcessPool("a worker is gone")
            write(run, seconds=80.0)

    launch = Once(planned, write)
    conductor.conduct(planned, tmp_path, launch)
    assert launch.launched == [["seed=0", "seed=1", "seed=2"]] * 2
