"""From grids of choices to the overrides of runs."""

from collections.abc import Sequence

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from tests.conftest import Compose

from bitstill.configuration.check import check
from bitstill.errors import UserError
from bitstill.sweep.grids import check_choices, composed_once_for_all_seeds, expand
from hydra_plugins.bitstill_sweeper import GridSweeper, _check_counts


def split(overrides: list[str]) -> Sequence[Sequence[str]]:
    parsed = OverridesParser.create().parse_overrides(overrides)
    found: list[list[str]] = GridSweeper.split_arguments(parsed, None)[0]
    return found


def test_without_grids_there_is_one_product() -> None:
    assert expand([], {}, [], split) == [()]
    assert expand([], {"seed": "1,2"}, ["loss=soft"], split) == [
        ("seed=1", "loss=soft"),
        ("seed=2", "loss=soft"),
    ]


def test_grids_stand_side_by_side() -> None:
    grids = [{"model": "teacher"}, {"loss": "soft,hard", "temperature": "T1,T10"}]
    assert expand(grids, {}, [], split) == [
        ("model=teacher",),
        ("loss=soft", "temperature=T1"),
        ("loss=soft", "temperature=T10"),
        ("loss=hard", "temperature=T1"),
        ("loss=hard", "temperature=T10"),
    ]


def test_runs_that_differ_in_their_seed_are_composed_once(compose_run: Compose) -> None:
    def parse(override: str) -> object:
        return OverridesParser.create().parse_override(override).value()

    calls = []

    def compose(overrides: tuple[str, ...]) -> DictConfig:
        calls.append(overrides)
        return compose_run(*overrides)

    quick = composed_once_for_all_seeds(compose, parse)
    asked: list[tuple[str, ...]] = [
        ("seed=7", loss, "seed=3") for loss in ("loss=soft", "loss=hard")
    ]
    asked += [("loss=soft",), ("seed=12", "loss=soft"), ("loss=soft", "seed=1_0"), ("loss=soft",)]
    for run in asked:
        assert check(quick(run)) == check(compose_run(*run))
    alone = ("seed=4", "++seed=5", "loss=soft")
    assert check(quick(alone)).seed == 5
    assert calls.pop() == alone
    assert calls == [("loss=soft",), ("loss=hard",), ("loss=soft",), ("loss=soft",)]
    with pytest.raises(UserError, match="seed = 'x' is not"):
        check(quick(("loss=hard", "seed=x")))


def test_params_are_in_every_grid() -> None:
    asked = expand([{"model": "teacher"}, {"loss": "hard"}], {"seed": "range(2)"}, [], split)
    assert asked == [
        ("seed=0", "model=teacher"),
        ("seed=1", "model=teacher"),
        ("seed=0", "loss=hard"),
        ("seed=1", "loss=hard"),
    ]


@pytest.mark.parametrize("key", ["name", "paths.output", "+experiment", "sweep.detach"])
def test_a_grid_has_nothing_that_a_sweep_has_one_of(key: str) -> None:
    for grids, params in (([{key: "a"}], {}), ([{"seed": "0"}], {key: "a"})):
        with pytest.raises(UserError) as refused:
            expand(grids, params, [], lambda one: [one])
        assert str(refused.value) == (
            f"hydra.sweeper has {key}, and a sweep has one: give it beside hydra, and not in "
            "params or grids"
        )


def test_a_grid_wins_over_params() -> None:
    assert expand([{"seed": "5"}, {}], {"seed": "1"}, [], split) == [("seed=5",), ("seed=1",)]


def test_arguments_win_and_duplicates_are_dropped() -> None:
    grids = [{"loss": "soft,soft_hard"}, {"loss": "hard"}]
    assert expand(grids, {"seed": "1,2"}, ["loss=gt_soft_hard", "seed=7"], split) == [
        ("seed=7", "loss=gt_soft_hard")
    ]


@pytest.mark.parametrize(
    ("overrides", "number"),
    [
        (["seed=range(9000)", "loss=range(20)", "seed=1,2"], None),
        (["seed=range(9000)", "loss=range(20)"], 180000),
        (["seed=1,2", "loss=range(20)", "seed=range(9000)"], 180000),
        (["seed=range(200000)", "seed=1,2"], 200000),  # Hydra lists them all the same
    ],
)
def test_of_a_key_that_is_given_twice_the_last_values_count(
    overrides: list[str], number: int | None
) -> None:
    """As those of an experiment that the command line replaces."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    if number is None:
        _check_counts(parsed)
        assert len(split(overrides)) == 40
        return
    with pytest.raises(UserError) as refused:
        _check_counts(parsed)
    assert str(refused.value) == (
        f"{', '.join(overrides)} would be {number} runs: give at most 100000"
    )


def test_a_temperature_in_the_arguments_wins_over_its_value() -> None:
    grids = [{"temperature.value": "1,2"}, {"schedule.epochs": "3"}]
    assert expand(grids, {}, ["temperature=T15", "schedule=quick"], split) == [
        ("temperature=T15", "schedule=quick"),
        ("schedule.epochs=3", "temperature=T15", "schedule=quick"),
    ]


def test_a_choice_of_null_and_no_choice() -> None:
    found = expand([{"quantizer.weight_bits": None}], {}, [], split)
    assert found == [("quantizer.weight_bits=null",)]
    with pytest.raises(UserError, match="the sweep has no runs"):
        expand([], {}, ["seed=range(0)"], split)


def test_other_choices_than_of_a_temperature_leave_a_grids_value_as_it_is() -> None:
    assert expand([{"soft_weight.value": "1,4"}], {}, ["soft_weight=constant"], split) == [
        ("soft_weight.value=1", "soft_weight=constant"),
        ("soft_weight.value=4", "soft_weight=constant"),
    ]


@pytest.mark.parametrize("key", ["name", "paths.output", "+experiment"])
def test_what_a_sweep_has_one_of_takes_one_value(key: str) -> None:
    with pytest.raises(UserError, match="has several values, and a sweep has one"):
        check_choices([key])
