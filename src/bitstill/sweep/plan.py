"""The plan of a sweep: which runs there are, and which are left to run."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from bitstill.bar import bar
from bitstill.configuration.check import check, check_batches
from bitstill.data import read_once
from bitstill.errors import UserError, counted
from bitstill.explanations import say
from bitstill.loggers.logged import not_logged
from bitstill.runs import RunPaths, in_store
from bitstill.runs.identity import cell_of, directory_name, identity, teacher_of
from bitstill.runs.manifest import Expected
from bitstill.runs.status import RunState, stop_sign
from bitstill.schema import TrainConfig

# What a sweep does for a run: nothing, send a finished run to loggers that lack it, or train it.
Work = Literal["skip", "log", "train"]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep, before it is run.

    Attributes:
        overrides: the overrides that define the run, in Hydra's syntax.
        config: the configuration that they compose.
        expected: the run's folder, names and identity.
    """

    overrides: tuple[str, ...]
    config: TrainConfig
    expected: Expected

    def work(self, state: RunState) -> Work:
        """Return what is left to do for the run, given its state and ``sweep.rerun``."""
        sweep = self.config.sweep
        if state.status == "done" and not sweep.repeats_finished:
            return "log" if not_logged(self.config.logger, self.expected.paths) else "skip"
        return "skip" if state.status == "failed" and sweep.rerun == "none" else "train"


def is_stopped(config: TrainConfig) -> bool:
    """Whether a run must not begin because another run of its sweep has failed."""
    return config.sweep.on_failure == "stop" and stop_sign(config.folder).exists()


def stop_at_failure(config: TrainConfig) -> None:
    """After a failed run, keep other runs of its sweep from beginning, if so configured."""
    if config.sweep.on_failure == "stop":
        stop_sign(config.folder).touch()


@read_once()
def plan(
    overrides: Sequence[tuple[str, ...]],
    compose: Callable[[tuple[str, ...]], DictConfig],
    folder: Path | None = None,
) -> list[PlannedRun]:
    """Compose and check every run, and leave out duplicates.

    Two combinations are the same run if they differ only in settings that do not affect the result:
    a teacher is trained once, however many losses are swept.

    Args:
        overrides: each run's overrides.
        compose: returns the configuration for overrides.
        folder: the folder that all runs must lie in; None allows any single folder.

    Raises:
        UserError: a run's configuration or data cannot be used; nothing has been run.
    """
    runs: dict[str, PlannedRun] = {}
    with bar(len(overrides), "checking", "runs") as shown:
        for one in overrides:
            config = check(compose(one))
            check_batches(config)
            run_identity = identity(config, config.data.identity())
            if run_identity not in runs:
                runs[run_identity] = PlannedRun(one, config, _expected(config, run_identity))
            shown.update()
    found = list(runs.values())
    if len(found) < len(overrides):
        fewer = counted(len(found), "run")
        say(f"{len(overrides)} combinations are {fewer}: some differ in what they do not read")
    _check_folder(found, folder)
    return _told_apart(found)


def _check_folder(runs: Iterable[PlannedRun], folder: Path | None) -> None:
    """Check that all runs lie in one folder; a ``${...}`` in its name may differ between runs."""
    those = {run.config.folder for run in runs}
    folders = sorted(map(str, those if folder is None else those | {folder}))
    if len(folders) > 1:
        raise UserError(
            f"runs of one sweep would lie in {folders[0]} and in {folders[1]}: give name and "
            "paths.output no ${...} of a setting that is swept"
        )


_IN_A_NAME = ("model", "loss", "temperature", "temperature.value", "seed")


def _told_apart(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Add to names that several runs share the overrides in which these runs differ."""
    names = Counter(run.expected.name for run in runs)
    each = [set(run.overrides) for run in runs]
    shared = set.intersection(*each) if each else set()

    def named(run: PlannedRun) -> PlannedRun:
        own = [
            one
            for one in run.overrides
            if one not in shared and one.partition("=")[0].lstrip("+") not in _IN_A_NAME
        ]
        if not own or names[run.expected.name] == 1:
            return run
        expected = dataclasses.replace(run.expected, difference=", ".join(own))
        return dataclasses.replace(run, expected=expected)

    return [named(run) for run in runs]


def _expected(config: TrainConfig, run_identity: str) -> Expected:
    return Expected(
        cell=cell_of(config),
        seed=config.seed,
        identity=run_identity,
        epochs=config.schedule.epochs,
        paths=RunPaths(config.folder / directory_name(config, run_identity)),
        stored=_stored(config, run_identity),
    )


def _stored(config: TrainConfig, run_identity: str) -> RunPaths | None:
    """Return where the store keeps a run's teacher, or the run itself if it is a teacher."""
    if config.is_teacher:
        return in_store(config, run_identity)
    if not config.needs_teacher:
        return None
    teacher = teacher_of(config)
    return in_store(teacher, identity(teacher, config.data.identity()))
