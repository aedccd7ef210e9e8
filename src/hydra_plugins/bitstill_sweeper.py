"""Hydra's view of a bitstill sweep.

Hydra finds plugins by importing every module in ``hydra_plugins``, in every application that uses
Hydra: so this module imports only Hydra, and bitstill not before it is used.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError


@dataclass
class GridSweeperConf:
    """Settings of ``hydra/sweeper=grid``.

    Attributes:
        params: choices in every grid, as in Hydra's basic sweeper.
        grids: several products of choices, since a study is seldom one full product.
        max_batch_size: jobs that are handed to the launcher at a time; null is all.
        plan_only: show what would be done, and do nothing.
    """

    _target_: str = "hydra_plugins.bitstill_sweeper.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = field(default_factory=dict)
    grids: Any = field(default_factory=list)  # the sweeper checks them, with errors of one line
    plan_only: bool = False


ConfigStore.instance().store(
    group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="bitstill"
)


_SETTING = re.compile(r"\$\{[a-z]\w*(\.\w+)*\}")  # a setting of a run: ${temperature.value}
_COMPUTED = re.compile(r"\$\{[\w.]+:([^{}]|\{[^{}]*\})*\}")  # by a resolver: ${square:${seed}}
_MOST_RUNS = 100_000  # in a grid: Hydra lists all before any is checked
_MOST_JOBS = 1024  # joblib starts as many processes as it is told, even for a few runs
_ON_A_GPU = 4  # processes, since each has its own context and copy of the images on the GPU


def _as_written(choices: DictConfig | None) -> dict[str, Any]:
    """Keep choices that refer to a run's settings unresolved, for each run to resolve.

    Hydra would resolve them against a configuration that belongs to no run.
    """
    written: Any = OmegaConf.to_container(choices, resolve=False) if choices else {}
    return {key: _choice(key, text, choices) for key, text in written.items()}


def _choice(key: str, written: Any, choices: Any) -> Any:
    from bitstill.errors import UserError

    if not isinstance(written, str) or not _SETTING.search(written):
        return choices[key]
    if _COMPUTED.fullmatch(written):
        return f"'{written}'"  # Hydra's grammar allows nested braces only in quotes
    if "range(" in written or _COMPUTED.search(written):
        raise UserError(
            f"hydra.sweeper: {key} = {written} is not allowed: what refers to a setting of the run "
            "stands alone, or beside plain values"
        )
    return written


def _count(override: Override) -> float:
    """Return the number of values of an override; NaN for an invalid range."""
    values = override.value()
    if isinstance(values, ChoiceSweep):
        return len(values.list)
    if isinstance(values, RangeSweep) and values.step:
        try:
            return max(((values.stop or 0) - (values.start or 0)) / values.step, 0.0)
        except OverflowError:
            return math.inf
    return 1


def _check_counts(overrides: Sequence[Override]) -> None:
    """Refuse more values of a key, or combinations, than Hydra can list."""
    from bitstill.errors import UserError

    counts = [_count(one) for one in overrides]
    keys = [one.get_key_element() for one in overrides]
    last = dict(zip(keys, counts, strict=True))  # of a repeated key, the last counts
    for count in (*counts, math.prod(last.values())):
        if not count <= _MOST_RUNS:
            given = ", ".join(str(one.input_line) for one in overrides)
            raise UserError(f"{given} would be {count:.0f} runs: give at most {_MOST_RUNS}")


class GridSweeper(BasicSweeper):
    """Runs the unfinished runs of one or several grids, and continues after failures."""

    # Set by Hydra before it calls `sweep`. The launcher is Any: its base lacks what each kind has.
    config: DictConfig
    hydra_context: HydraContext
    launcher: Any

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
        grids: list[dict[str, Any]] | None = None,
        plan_only: bool = False,
    ) -> None:
        from bitstill.errors import UserError

        # In Hydra, -1 means all.
        if max_batch_size is not None and (max_batch_size < -1 or max_batch_size == 0):
            raise UserError(
                f"hydra.sweeper.max_batch_size = {max_batch_size} is not allowed: give at least 1, "
                "or null"
            )
        listed: Any = [] if grids is None else grids
        is_list = isinstance(listed, Sequence) and not isinstance(listed, str)
        if not is_list or not all(isinstance(one, Mapping) for one in listed):
            raise UserError(
                f"hydra.sweeper.grids = {grids} is not allowed: give a list of products, "
                "[{KEY: 'A,B'}]"
            )
        super().__init__(max_batch_size, params)
        self.plan_only = plan_only

    def sweep(self, arguments: list[str]) -> Any:
        """Plan all runs, launch those that are left, and print the outcome."""
        from bitstill.sweep.conductor import conduct
        from bitstill.sweep.grids import composed_once_for_all_seeds
        from bitstill.sweep.plan import plan
        from bitstill.sweep.preview import show_plan

        loader, config = self.hydra_context.config_loader, self.config
        parser = OverridesParser.create(config_loader=loader)
        overrides = self._overrides(arguments, parser)
        compose = composed_once_for_all_seeds(
            lambda one: loader.load_sweep_config(config, list(one)),
            lambda one: parser.parse_override(one).value(),
        )
        folder = self._folder(lambda: compose(overrides[0]))  # first: ${now:} then stays the same
        runs = plan(overrides, compose, folder)
        self._see_that_it_can_detach()
        self._share_a_gpu(runs)
        in_workers = self._has_workers()  # joblib refuses n_jobs = 0 there
        if self._is_slurm():
            self.launcher.planned = {run.overrides: run for run in runs}
        if self.plan_only:
            return show_plan(runs)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, folder / "multirun.yaml")
        return conduct(runs, folder, self._launch, in_workers=in_workers)

    def _overrides(
        self, arguments: Sequence[str], parser: OverridesParser
    ) -> list[tuple[str, ...]]:
        """Return the overrides of each run, from grids, params and command line."""
        from bitstill.errors import UserError, one_line
        from bitstill.sweep.grids import check_choices, expand

        def split(overrides: list[str]) -> Any:
            parsed = parser.parse_overrides(overrides)
            check_choices(one.get_key_element() for one in parsed if one.is_sweep_override())
            _check_counts(parsed)
            try:
                return self.split_arguments(parsed, None)[0]
            except ValueError as error:  # from range(), which is evaluated here
                given = ", ".join(overrides)
                line = f"{given} cannot be run ({one_line(error)}): give other values"
                raise UserError(line) from error

        # Not the choices that __init__ was given, which Hydra has already resolved.
        grids = OmegaConf.select(self.config, "hydra.sweeper.grids") or ()
        params = _as_written(OmegaConf.select(self.config, "hydra.sweeper.params"))
        return expand([*map(_as_written, grids)], params, arguments, split)

    def _folder(self, first_run: Callable[[], DictConfig]) -> Path:
        """Return the sweep's folder."""
        from bitstill.configuration.check import check

        try:
            return Path(self.config.hydra.sweep.dir)
        except InterpolationResolutionError:
            check(first_run())  # its error names the setting
            raise

    def _see_that_it_can_detach(self) -> None:
        """Refuse ``sweep.detach`` if launched runs would end with this process."""
        from bitstill.errors import UserError

        detaches = OmegaConf.select(self.config, "sweep.detach", default=False)
        if detaches and not self._is_slurm():
            raise UserError(
                "sweep.detach = true is not allowed here: it needs hydra/launcher=slurm"
            )

    def _is_slurm(self) -> bool:
        return type(self.launcher).__name__ == "SlurmLauncher"

    def _share_a_gpu(self, runs: Sequence[Any]) -> None:
        """On a GPU, start a few processes if n_jobs is -1, which would be one per core."""
        joblib = self._joblib()
        if joblib.get("n_jobs") == -1 and runs[0].config.trainer.accelerator == "gpu":
            joblib["n_jobs"] = _ON_A_GPU

    def _has_workers(self) -> bool:
        """Whether runs are in child processes, which needs joblib with more than one job."""
        settings = self._joblib()
        if not settings:
            return False
        from joblib import effective_n_jobs

        from bitstill.errors import UserError

        if (n_jobs := settings["n_jobs"]) > _MOST_JOBS:
            raise UserError(
                f"hydra.launcher.n_jobs = {n_jobs} is not allowed: give at most {_MOST_JOBS}, or -1"
            )
        return bool(effective_n_jobs(n_jobs) > 1)

    def _joblib(self) -> dict[str, Any]:
        """Return the settings of joblib's launcher; empty for another launcher."""
        is_joblib = type(self.launcher).__name__ == "JoblibLauncher"
        settings: dict[str, Any] = self.launcher.joblib if is_joblib else {}
        return settings

    def _launch(self, jobs: list[list[str]]) -> list[Any]:
        returns: list[Any] = []
        launched = 0  # not len(returns), since a detached sweep returns none
        for batch in self.split_overrides_to_chunks(jobs, self.max_batch_size):
            returns += self.launcher.launch(batch, initial_job_idx=launched)
            launched += len(batch)
        return returns
