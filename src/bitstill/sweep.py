"""A sweep as a contract: which cells there are, what is done, what is left, what failed."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from bitstill.config import check
from bitstill.runs import RunPaths, RunRecord, directory_name, identity, is_done, read_record
from bitstill.schema import TrainConfig


@dataclass(frozen=True)
class Cell:
    """One run of a sweep, before it is run.

    Attributes:
        overrides: what makes it, as Hydra takes it.
        config: what they make.
        identity: of the run.
        paths: where its files go.
        progress: where to look at it while it runs: a teacher is trained in the teacher store.
    """

    overrides: tuple[str, ...]
    config: TrainConfig
    identity: str
    paths: RunPaths
    progress: tuple[RunPaths, ...]

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return is_done(self.paths, self.identity)

    def record(self) -> RunRecord | None:
        """Return the latest record of this run, or None where there is none of this identity."""
        records = (read_record(paths) for paths in (self.paths, *self.progress))
        for record in records:
            if record is not None and record.identity == self.identity:
                return record
        return None


def expand(
    grids: Sequence[Mapping[str, object]],
    params: Mapping[str, object],
    arguments: Sequence[str],
    split: Callable[[list[str]], Iterable[Sequence[str]]],
) -> list[tuple[str, ...]]:
    """Return the overrides of all cells: one product of choices for each grid.

    Args:
        grids: each maps settings to choices, as ``hydra.sweeper.params`` does; none is one empty
            grid.
        params: choices in every grid.
        arguments: overrides from the command line, which win.
        split: Hydra's: turns overrides with choices into the overrides of single jobs.
    """
    products = (
        split([f"{key}={value}" for key, value in {**params, **grid}.items()] + list(arguments))
        for grid in (grids or [{}])
    )
    return list(dict.fromkeys(tuple(cell) for cell in itertools.chain.from_iterable(products)))


def plan(
    overrides: Iterable[tuple[str, ...]], compose: Callable[[tuple[str, ...]], DictConfig]
) -> list[Cell]:
    """Compose and check every cell, and leave out those that would be the same run.

    Two cells are the same run if nothing that they differ in decides the result: a teacher is
    trained once, however many losses are swept beside it.

    Raises:
        UserError: a cell's configuration or its data cannot be used; nothing has been run.
    """
    cells: dict[str, Cell] = {}
    for one in overrides:
        config = check(compose(one))
        run_identity = identity(config, config.data.identity())
        folder = Path(config.paths.output) / config.name
        paths = RunPaths(folder / directory_name(config, run_identity))
        stored = RunPaths(Path(config.paths.teachers) / run_identity)
        progress = (stored,) if config.is_teacher else ()
        cells.setdefault(run_identity, Cell(one, config, run_identity, paths, progress))
    return list(cells.values())
