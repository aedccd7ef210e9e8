"""A sweep as a contract: which runs there are, and which of them are left to run."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from bitstill.bar import bar
from bitstill.configuration.check import check, check_batches
from bitstill.configuration.hydra_errors import is_of_the_sweep, several_values
from bitstill.errors import UserError, counted
from bitstill.explanations import say
from bitstill.loggers.logged import not_logged
from bitstill.runs import RunPaths, in_store
from bitstill.runs.identity import cell_of, directory_name, identity
from bitstill.runs.manifest import Expected, run_name
from bitstill.runs.status import RunState, stop_sign
from bitstill.schema import TrainConfig

# What a sweep does for a run: nothing, or to give it to loggers that have not had it, or all of it.
Work = Literal["skip", "log", "train"]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep, before it is run.

    Attributes:
        overrides: what makes it, as Hydra takes it.
        config: what they make.
        expected: where it goes, and what it is called.
    """

    overrides: tuple[str, ...]
    config: TrainConfig
    expected: Expected

    def work(self, state: RunState) -> Work:
        """Return what is left to do for the run, by its state and by ``sweep.rerun``."""
        sweep = self.config.sweep
        if state.status == "done" and not sweep.repeats_finished:
            return "log" if not_logged(self.config.logger, self.expected.paths) else "skip"
        return "skip" if state.status == "failed" and sweep.rerun == "none" else "train"


def expand(
    grids: Sequence[Mapping[str, object]],
    params: Mapping[str, object],
    arguments: Sequence[str],
    split: Callable[[list[str]], Iterable[Sequence[str]]],
) -> list[tuple[str, ...]]:
    """Return the overrides of all runs: one product of choices for each grid.

    Args:
        grids: each maps settings to choices, as ``hydra.sweeper.params`` does; none is one empty
            grid.
        params: choices in every grid.
        arguments: overrides from the command line, which win; ``temperature=T15`` also over
            ``temperature.value``, which is all that it chooses.
        split: Hydra's: turns overrides with choices into the overrides of single jobs.

    Raises:
        UserError: there is no run, or a grid has what a sweep has one of.
    """
    for key in itertools.chain(params, *grids):
        if is_of_the_sweep(key):
            raise UserError(
                f"hydra.sweeper has {key}, and a sweep has one: give it beside hydra, and not in "
                "params or grids"
            )
    has_temperature = any(one.startswith("temperature=") for one in arguments)

    def left_out(key: str) -> bool:
        return has_temperature and key == "temperature.value"

    def product(grid: Mapping[str, object]) -> Iterable[Sequence[str]]:
        settings = {**params, **grid}.items()
        kept = [_override(key, value) for key, value in settings if not left_out(key)]
        return split([*kept, *arguments])

    products = (product(grid) for grid in (grids or [{}]))
    runs = list(dict.fromkeys(tuple(one) for one in itertools.chain.from_iterable(products)))
    if not runs:
        raise UserError("the sweep has no runs: give each of its ranges and lists a value at least")
    return runs


def _override(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        name: object = key
        inner: object = value
        while isinstance(inner, Mapping) and inner:
            part, inner = next(iter(inner.items()))
            name = f"{name}.{part}"
        raise UserError(
            f"hydra.sweeper: {key} = {value} is not allowed: write whole names, {name}: 'A,B'"
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        raise UserError(
            f"hydra.sweeper: {key} = {value} is not allowed: give choices as one text, 'A,B', and "
            "a list as '[A,B]'"
        )
    return f"{key}={'null' if value is None else value}"


def check_choices(keys: Iterable[str]) -> None:
    """Refuse several values of what a sweep has one of.

    Args:
        keys: of the overrides that are given several.
    """
    for key in keys:
        if is_of_the_sweep(key):
            raise UserError(several_values(key))


def is_stopped(config: TrainConfig, folder: Path) -> bool:
    """Whether a run is not to be begun: another of its sweep has failed."""
    return config.sweep.on_failure == "stop" and stop_sign(folder).exists()


def stop_at_failure(config: TrainConfig, folder: Path) -> None:
    """Let no further run of a failed run's sweep begin, if that is asked for."""
    if config.sweep.on_failure == "stop":
        stop_sign(folder).touch()


def composed_once_for_all_seeds(
    compose: Callable[[tuple[str, ...]], DictConfig], parse: Callable[[str], object]
) -> Callable[[tuple[str, ...]], DictConfig]:
    """Return what composes as ``compose`` does, once for runs that differ in their seed alone.

    A composition takes a tenth of a second, and no choice of a file depends on the seed; where
    another override names it, the run is composed alone. What is returned holds until the next
    call.

    Args:
        compose: overrides to a configuration.
        parse: an override to its value.
    """

    @cache
    def without_seed(overrides: tuple[str, ...]) -> DictConfig:
        return compose(overrides)

    def composed(overrides: tuple[str, ...]) -> DictConfig:
        seeds = [one for one in overrides if one.startswith("seed=")]
        others = tuple(one for one in overrides if one not in seeds)
        if not seeds or any("seed" in one for one in others):
            return compose(overrides)
        config = without_seed(others)
        config.seed = parse(seeds[-1])
        return config

    return composed


def plan(
    overrides: Sequence[tuple[str, ...]],
    compose: Callable[[tuple[str, ...]], DictConfig],
    folder: Path | None = None,
) -> list[PlannedRun]:
    """Compose and check every run, and leave out those that would be another again.

    Two are the same run if nothing that they differ in decides the result: a teacher is trained
    once, however many losses are swept beside it.

    Args:
        overrides: of the runs.
        compose: overrides to a configuration.
        folder: that all runs must lie in; None is any, if it is one.

    Raises:
        UserError: a run's configuration or its data cannot be used; nothing has been run.
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
    """See that all runs lie in the sweep's folder: a ``${...}`` in its name may differ by run."""
    those = {run.config.folder for run in runs}
    folders = sorted(map(str, those if folder is None else those | {folder}))
    if len(folders) > 1:
        raise UserError(
            f"runs of one sweep would lie in {folders[0]} and in {folders[1]}: give name and "
            "paths.output no ${...} of a setting that is swept"
        )


_IN_A_NAME = ("model", "loss", "temperature", "temperature.value", "seed")


def _told_apart(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Add to names that several runs have what their overrides differ in."""
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
        name = ", ".join([run.expected.name, *own])
        return dataclasses.replace(run, expected=dataclasses.replace(run.expected, name=name))

    return [named(run) for run in runs]


def _expected(config: TrainConfig, run_identity: str) -> Expected:
    return Expected(
        name=run_name(cell_of(config), config.seed),
        identity=run_identity,
        epochs=config.schedule.epochs,
        paths=RunPaths(config.folder / directory_name(config, run_identity)),
        stored=in_store(config, run_identity) if config.is_teacher else None,
    )
