"""Everything in conf/ composes, and is what the documents promise."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from tests.conftest import Compose

from bitstill.configuration.check import check
from bitstill.configuration.shipped import conf_directory
from bitstill.runs.identity import directory_name, identity
from bitstill.schema import TrainConfig
from bitstill.sweep.grids import expand
from hydra_plugins.bitstill_sweeper import GridSweeper

CONF = conf_directory()
CHOICES = sorted(
    path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.glob("*/*.yaml")
)
EXPERIMENTS = {
    "open": 75,
    "quick": 14,
    "study": 75,
    "table1": 2,
    "table2": 4,
    "table3": 4,
    "table4": 4,
}
# The folder of data that nobody can guess.
GIVEN = {
    "data/folder": ["data.path=/somewhere"],
    "data/parquet": ["data.path=/somewhere"],
    "open": ["data.path=/somewhere"],
}


def cells(compose_run: Compose, experiment: str) -> list[tuple[str, ...]]:
    """Return the overrides of an experiment's cells, as the sweeper makes them."""
    composed = compose_run(f"experiment={experiment}", hydra=True)
    sweeper = composed.hydra.sweeper
    assert composed.hydra.mode.name == "MULTIRUN"
    assert sweeper._target_ == "hydra_plugins.bitstill_sweeper.GridSweeper"
    parser = OverridesParser.create()

    def split(overrides: list[str]) -> Any:
        return GridSweeper.split_arguments(parser.parse_overrides(overrides), None)[0]

    grids = OmegaConf.to_container(sweeper.grids)
    params = OmegaConf.to_container(sweeper.params) if sweeper.params else {}
    assert isinstance(grids, list)
    assert isinstance(params, dict)
    return expand(grids, {str(key): value for key, value in params.items()}, [], split)


@pytest.mark.parametrize("choice", [one for one in CHOICES if not one.startswith("experiment/")])
def test_every_choice_composes(compose_run: Compose, choice: str) -> None:
    group, _, name = choice.partition("/")
    config = check(compose_run(f"{group}={name}", *GIVEN.get(choice, [])))
    assert isinstance(config, TrainConfig)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("schedule/*.yaml")))
def test_every_schedule_is_a_teachers_too(compose_run: Compose, name: str) -> None:
    chosen = check(compose_run(f"schedule={name}"))
    assert chosen.teacher.schedule == chosen.schedule
    alone = check(compose_run(f"+schedule@teacher.schedule={name}", "schedule.epochs=7"))
    assert alone.teacher.schedule == chosen.schedule
    assert alone.schedule.epochs == 7


TEACHERS_OWN: dict[str, tuple[str, Any]] = {
    "epochs": ("8", 8),
    "batch_size": ("32", 32),
    "learning_rates": ("[0.1,0.2,0.3]", [0.1, 0.2, 0.3]),
    "milestones": ("[0.1,0.2]", [0.1, 0.2]),
    "l2": ("0.5", 0.5),
}


@pytest.mark.parametrize("key", TEACHERS_OWN)
def test_a_teachers_schedule_is_the_runs_but_for_what_is_set(
    compose_run: Compose, key: str
) -> None:
    text, value = TEACHERS_OWN[key]
    usual = check(compose_run()).schedule
    changed = dataclasses.replace(usual, **{key: value})
    assert changed != usual
    followed = check(compose_run(f"schedule.{key}={text}"))
    assert followed.schedule == followed.teacher.schedule == changed
    alone = check(compose_run(f"teacher.schedule.{key}={text}"))
    assert (alone.schedule, alone.teacher.schedule) == (usual, changed)


@pytest.mark.parametrize(
    "path", [path.relative_to(CONF).as_posix() for path in CONF.glob("hydra/*/*.yaml")]
)
def test_every_hydra_preset_composes(compose_run: Compose, path: str) -> None:
    group, _, name = path.removesuffix(".yaml").rpartition("/")
    composed = compose_run(f"{group}={name}", hydra=True)
    assert OmegaConf.select(composed, f"hydra.runtime.choices.{group}") == name


def test_every_experiment_is_known_here() -> None:
    assert sorted(path.stem for path in CONF.glob("experiment/*.yaml")) == sorted(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_as_each_of_its_cells(
    compose_run: Compose, experiment: str
) -> None:
    found = cells(compose_run, experiment)
    assert len(found) == EXPERIMENTS[experiment]
    # Seeds differ in a number alone: the first of each cell will do.
    first = {tuple(one for one in cell if not one.startswith("seed=")): cell for cell in found}
    given = [f"experiment={experiment}", *GIVEN.get(experiment, [])]
    configs = [check(compose_run(*given, *cell)) for cell in first.values()]
    assert {config.name for config in configs} == {experiment}
    identities = {identity(config, "data") for config in configs}
    assert len(identities) == len(first), "two cells are the same run"


@pytest.mark.parametrize(
    ("experiment", "loss"),
    [("table2", "soft"), ("table3", "soft_hard"), ("table4", "gt_soft_hard")],
)
def test_a_table_has_the_published_temperatures(
    compose_run: Compose, experiment: str, loss: str
) -> None:
    configs = [
        check(compose_run(f"experiment={experiment}", *cell))
        for cell in cells(compose_run, experiment)
    ]
    assert [config.temperature.value for config in configs] == [10, 15, 50, 100]
    assert {config.loss_name for config in configs} == {loss}
    assert not any(config.is_teacher for config in configs)


def test_table_1_is_a_teacher_and_a_hard_student_at_15(compose_run: Compose) -> None:
    configs = [
        check(compose_run("experiment=table1", *cell)) for cell in cells(compose_run, "table1")
    ]
    assert [(config.is_teacher, config.loss_name) for config in configs] == [
        (True, "hard"),
        (False, "hard"),
    ]
    assert configs[1].temperature.value == 15


def test_the_study_has_five_seeds_of_all_published_cells(compose_run: Compose) -> None:
    seeds: dict[tuple[str, ...], list[str]] = {}
    study = cells(compose_run, "study")
    for cell in study:
        key = tuple(one for one in cell if not one.startswith("seed="))
        seeds.setdefault(key, []).extend(set(cell) - set(key))
    assert all(found == [f"seed={seed}" for seed in range(5)] for found in seeds.values())
    configs = [check(compose_run("experiment=study", *one)) for one in study if "seed=0" in one]
    found = {(one.is_teacher, one.loss_name, one.temperature.value) for one in configs}
    distilled = ("soft", "soft_hard", "gt_soft_hard")
    published = {(False, loss, t) for loss in distilled for t in (10.0, 15.0, 50.0, 100.0)}
    assert published | {(True, "hard", 15.0), (False, "hard", 15.0)} <= found


def test_groups_are_the_documented_ones() -> None:
    text = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    tree = re.search(r"^ *conf/.*?^ *src/bitstill/", text, re.MULTILINE | re.DOTALL)
    assert tree is not None
    documented = set(re.findall(r"\b([a-z_]+)/", tree[0].replace("src/bitstill/", ""))) - {"conf"}
    assert {path.name for path in CONF.iterdir() if path.is_dir()} == documented


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("data", {"svhn", "cifar10", "digits"}),
        ("model", {"teacher", "student"}),
        ("quantizer", {"mean_scaled", "dorefa"}),
        ("loss", {"hard", "soft", "soft_hard", "gt_soft_hard"}),
        ("temperature", {"T1", "T10", "T15", "T50", "T100"}),
        ("soft_weight", {"constant", "t_squared", "cosine", "linear"}),
        ("schedule", {"published", "quick"}),
        ("trainer", {"cpu", "gpu"}),
        ("logger", {"csv", "tensorboard", "wandb"}),
    ],
)
def test_the_promised_choices_are_there(group: str, names: set[str]) -> None:
    assert names <= {path.stem for path in (CONF / group).glob("*.yaml")}


def test_a_group_fills_the_setting_of_its_name(compose_run: Compose) -> None:
    plain = OmegaConf.to_container(compose_run("logger=tensorboard"), resolve=True)
    assert isinstance(plain, dict)
    groups = {choice.partition("/")[0] for choice in CHOICES} - {"experiment"}
    assert groups <= set(plain)


def test_no_logger_is_as_good_as_none_beside_the_curves(compose_run: Compose) -> None:
    assert check(compose_run("logger=[]")) == check(compose_run("logger=csv"))


@pytest.mark.parametrize("temperature", [1, 10, 15, 50, 100])
def test_a_temperature_is_what_its_name_says(compose_run: Compose, temperature: int) -> None:
    assert check(compose_run(f"temperature=T{temperature}")).temperature.value == temperature


def test_the_default_is_the_published_run(compose_run: Compose) -> None:
    plain = OmegaConf.to_container(compose_run(), resolve=True)
    assert isinstance(plain, dict)
    assert plain["schedule"] == {
        "epochs": 60,
        "batch_size": 256,
        "learning_rates": [0.01, 0.001, 0.0005],
        "milestones": [0.25, 0.6666667],
        "l2": 1e-10,
    }
    assert plain["teacher"]["schedule"] == plain["schedule"]
    assert plain["batch_norm"] == {"momentum": 0.01, "epsilon": 0.001}
    quantizer = plain["quantizer"]
    assert (quantizer["method"], quantizer["weight_bits"]) == ("mean_scaled", 2)
    assert (quantizer["activation_bits"], quantizer["activation_scale"]) == (1, 0.1)
    assert plain["temperature"]["value"] == 15


def test_the_published_learning_rate_changes_after_epochs_15_and_40(compose_run: Compose) -> None:
    schedule = check(compose_run()).schedule
    rates = [schedule.learning_rate(epoch) for epoch in range(60)]
    assert rates == [0.01] * 15 + [0.001] * 25 + [0.0005] * 20


@pytest.mark.parametrize("choice", ["t_squared", "linear", "cosine"])
@pytest.mark.parametrize(
    ("temperature", "square"), [("temperature=T50", 2500), ("temperature.value=1.5", 2.25)]
)
def test_the_factor_c_follows_the_temperature(
    compose_run: Compose, choice: str, temperature: str, square: float
) -> None:
    config = check(compose_run(f"soft_weight={choice}", temperature))
    weight = config.soft_weight
    assert getattr(weight, "value", getattr(weight, "initial", None)) == square


def test_a_constant_factor_does_not(compose_run: Compose) -> None:
    config = check(compose_run("soft_weight=constant", "temperature=T50"))
    assert getattr(config.soft_weight, "value", None) == 1


def test_a_run_lies_in_a_folder_of_its_identity(compose_run: Compose, tmp_path: Path) -> None:
    overrides = ["name=mine", "seed=3", f"paths.output={tmp_path}"]
    composed = compose_run(*overrides, hydra=True)
    config = check(compose_run(*overrides))
    name = directory_name(config, identity(config, config.data.identity()))
    # What Hydra itself fills in when it starts is not there under the compose API.
    assert composed.hydra.run.dir == f"{tmp_path}/mine/{name}"
    assert f"{composed.hydra.sweep.dir}/{composed.hydra.sweep.subdir}" == composed.hydra.run.dir


def test_a_teachers_seed_is_the_runs_unless_it_is_set(compose_run: Compose) -> None:
    assert check(compose_run("seed=4")).teacher.seed == 4
    assert check(compose_run("seed=4", "teacher.seed=0")).teacher.seed == 0


@pytest.mark.slow
def test_the_open_questions_are_against_the_study(compose_run: Compose) -> None:
    """Each cell has the study's teacher, and differs from the study at T = 15 in one thing."""
    digits = ["data=parquet", "data.path=/somewhere", "schedule.batch_size=64"]
    usual = check(compose_run(*digits))
    found = [cell for cell in cells(compose_run, "open") if "seed=0" in cell]
    configs = [check(compose_run("experiment=open", digits[1], *cell)) for cell in found]
    for cell, config in zip(found, configs, strict=True):
        differing = [
            config.temperature != usual.temperature,
            config.quantizer != usual.quantizer,
            config.schedule != usual.schedule,
            bool({"soft_weight=constant", "soft_weight=linear"} & set(cell)),
        ]
        assert sum(differing) == 1
        assert config.teacher == usual.teacher
        assert config.data == usual.data
    studied = [cell for cell in cells(compose_run, "study") if "seed=0" in cell]
    known = {
        identity(check(compose_run("experiment=study", *digits, *cell)), "data") for cell in studied
    }
    assert not known & {identity(config, "data") for config in configs}
