"""Expands the grids of a sweep into the overrides of its runs, and composes each cell once."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

from omegaconf import DictConfig

from bitstill.configuration.single import has_one_value, several_values
from bitstill.errors import UserError


def expand(
    grids: Sequence[Mapping[str, object]],
    params: Mapping[str, object],
    arguments: Sequence[str],
    split: Callable[[list[str]], Iterable[Sequence[str]]],
) -> list[tuple[str, ...]]:
    """Return the overrides of all runs: one product of choices for each grid.

    Args:
        grids: each maps settings to choices, as ``hydra.sweeper.params`` does; an empty list is one
            empty grid.
        params: choices in every grid.
        arguments: overrides from the command line, which take precedence; ``temperature=T15`` also
            over ``temperature.value``, which is all that it sets.
        split: Hydra's function that turns overrides with choices into the overrides of single jobs.

    Raises:
        UserError: there is no run, or a grid has a setting that must have one value in a sweep.
    """
    for key in itertools.chain(params, *grids):
        if re.match(r"\+*hydra[./]", key):  # runs would be given it, and ignore it
            raise UserError(
                f"hydra.sweeper has {key}, which is not a setting of a run: give it outside params "
                "and grids"
            )
        if has_one_value(key):
            raise UserError(
                f"hydra.sweeper has {key}, and a sweep has one: give it beside hydra, and not in "
                "params or grids"
            )
    has_temperature = any(one.startswith("temperature=") for one in arguments)
    left_out = {"temperature.value"} if has_temperature else set()

    def product(grid: Mapping[str, object]) -> Iterable[Sequence[str]]:
        settings = {**params, **grid}.items()
        kept = [_override(key, value) for key, value in settings if key not in left_out]
        return split([*kept, *arguments])

    runs = dict.fromkeys(tuple(one) for grid in grids or [{}] for one in product(grid))
    if not runs:
        raise UserError("the sweep has no runs: give each of its ranges and lists a value at least")
    return list(runs)


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
    """Refuse several values of a setting that must have one value in a sweep.

    Args:
        keys: keys of the overrides that have several values.
    """
    for key in keys:
        if has_one_value(key):
            raise UserError(several_values(key))


def composed_once_for_all_seeds(
    compose: Callable[[tuple[str, ...]], DictConfig], parse: Callable[[str], object]
) -> Callable[[tuple[str, ...]], DictConfig]:
    """Wrap ``compose`` so that runs which differ only in seed are composed once.

    A composition takes a tenth of a second, and the seed does not decide which files are chosen. If
    another override mentions the seed, the run is composed by itself. A returned configuration is
    valid until the next call.

    Args:
        compose: returns the configuration for overrides.
        parse: returns the value of an override.
    """
    without_seed = cache(compose)

    def composed(overrides: tuple[str, ...]) -> DictConfig:
        seeds = [one for one in overrides if one.startswith("seed=")]
        others = tuple(one for one in overrides if one not in seeds)
        if not seeds or any("seed" in one for one in others):
            return compose(overrides)
        config = without_seed(others)
        config.seed = parse(seeds[-1])
        return config

    return composed
