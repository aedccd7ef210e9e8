"""Our sweeper and launcher, under the tests that Hydra has for them.

What is bitstill's own is put aside: a cell is composed, and not checked against bitstill's schema,
and what is launched is returned in batches, as the suite expects. Hydra's suite for sweepers that
return batches, and its integration tests, which start applications with other configurations in
processes of their own, cannot fit a sweeper that refuses every configuration but one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import submitit
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.plugin import Plugin
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import LauncherTestSuite
from omegaconf import DictConfig

import bitstill.sweep.conductor
import bitstill.sweep.plan
from bitstill.sweep.plan import PlannedRun

Returns = Sequence[Any]

SWEEPER = "hydra_plugins.bitstill_sweeper.GridSweeper"
LAUNCHER = "hydra_plugins.bitstill_slurm.SlurmLauncher"


def plugin(name: str) -> Any:
    """Return a class as Hydra knows it: looking for plugins, it imports their modules anew."""
    return Plugins.instance().class_name_to_class[name]


# What the suite relies on, and Hydra's versions differ in.
IN_ITS_FOLDER = "hydra.job.chdir=true"


@pytest.fixture
def without_bitstill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave of a sweep what is Hydra's: compose every run, launch all of them."""

    def plan(
        overrides: Sequence[tuple[str, ...]],
        compose: Callable[[tuple[str, ...]], DictConfig],
        folder: Path,
    ) -> list[PlannedRun]:
        runs = []
        for one in overrides:
            compose(one)
            unused: Any = None
            runs.append(PlannedRun(one, unused, unused))
        return runs

    def conduct(
        runs: Sequence[PlannedRun],
        folder: Path,
        launch: Callable[[list[list[str]]], Returns],
        **_: bool,
    ) -> Returns:
        return [launch([list(run.overrides) for run in runs])]

    monkeypatch.setattr(bitstill.sweep.plan, "plan", plan)
    monkeypatch.setattr(bitstill.sweep.conductor, "conduct", conduct)


@pytest.mark.usefixtures("without_bitstill")
@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [("basic", ["hydra/sweeper=grid", IN_ITS_FOLDER])]
)
class TestSweeper(LauncherTestSuite):
    """Hydra's suite, which sweeps with our sweeper."""


@pytest.mark.parametrize(("processes", "workers"), [(2, True), (1, False)])
def test_joblib_with_one_process_is_no_launcher_of_workers(processes: int, workers: bool) -> None:
    """Nobody waits for workers then: a Ctrl-C would wait for itself."""
    joblib = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
    sweeper = plugin(SWEEPER)()
    sweeper.launcher = plugin(joblib)(n_jobs=processes)
    assert sweeper._has_workers() == workers


@pytest.mark.parametrize(
    ("accelerator", "given", "used"), [("gpu", -1, 4), ("gpu", 8, 8), ("cpu", -1, -1)]
)
def test_few_processes_share_a_gpu(accelerator: str, given: int, used: int) -> None:
    joblib = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
    sweeper = plugin(SWEEPER)()
    sweeper.launcher = plugin(joblib)(n_jobs=given)
    trainer = SimpleNamespace(accelerator=accelerator)
    sweeper._share_a_gpu([SimpleNamespace(config=SimpleNamespace(trainer=trainer))])
    assert sweeper.launcher.joblib["n_jobs"] == used


@pytest.fixture
def on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Submit to processes of this machine, in place of Slurm."""

    def executor(self: Launcher) -> submitit.AutoExecutor:
        return submitit.AutoExecutor(folder=tmp_path / "submitit", cluster="local")

    monkeypatch.setattr(plugin(LAUNCHER), "_executor", executor)


OURS = f"hydra.launcher._target_={LAUNCHER}"


@pytest.mark.slow
@pytest.mark.usefixtures("on_this_machine")
@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [("submitit_slurm", [OURS, IN_ITS_FOLDER])]
)
class TestLauncher(LauncherTestSuite):
    """Hydra's suite, with our launcher under Hydra's sweeper."""


@pytest.mark.parametrize(("name", "kind"), [(SWEEPER, Sweeper), (LAUNCHER, Launcher)])
def test_hydra_finds_the_plugins(name: str, kind: type[Plugin]) -> None:
    assert plugin(name) in Plugins.instance().discover(kind)


@pytest.mark.parametrize(
    ("size", "batches"),
    [(None, [[0, 1, 2, 3, 4]]), (-1, [[0, 1, 2, 3, 4]]), (2, [[0, 1], [2, 3], [4]])],
)
@pytest.mark.parametrize("detached", [False, True])
def test_jobs_are_launched_in_batches_and_counted_through(
    size: int | None, batches: list[list[int]], detached: bool
) -> None:
    launched = []

    class Recording:
        def launch(self, jobs: list[list[str]], initial_job_idx: int) -> list[int]:
            numbers = list(range(initial_job_idx, initial_job_idx + len(jobs)))
            assert jobs == [[f"seed={number}"] for number in numbers]
            launched.append(numbers)
            return [] if detached else numbers

    sweeper = plugin(SWEEPER)(max_batch_size=size)
    sweeper.launcher = Recording()
    returned = sweeper._launch([[f"seed={number}"] for number in range(5)])
    assert returned == ([] if detached else [0, 1, 2, 3, 4])
    assert launched == batches
