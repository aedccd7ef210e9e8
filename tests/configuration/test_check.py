"""The door: a configuration is typed, complete and in range, or refused in one line."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.version import getbase
from omegaconf import DictConfig, OmegaConf
from tests.conftest import SMALL, Configure

from bitstill import application, losses
from bitstill.application import compose
from bitstill.configuration.check import check, check_batches, settings
from bitstill.errors import UserError
from bitstill.explanations import explain
from bitstill.loss_inputs import LOSS_INPUTS
from bitstill.schema import TARGETS

Changed = Callable[..., DictConfig]


def refusal(composed: DictConfig) -> str:
    with pytest.raises(UserError) as caught:
        check(composed)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("seed", "abc", "a whole number"),
        ("seed", 1.5, "a whole number"),
        ("seed", True, "a whole number"),
        ("seed", None, "a whole number (null is not allowed)"),
        ("seed", [1], "a whole number"),
        ("seed", {"a": 1}, "a whole number"),
        ("schedule.epochs", 2.0, "a whole number"),
        ("schedule.l2", "small", "a number"),
        ("schedule.l2", True, "a number"),
        ("temperature.value", None, "a number"),
        ("temperature.value", "hot", "a number"),
        ("schedule.learning_rates", 0.1, "a list"),
        ("schedule.milestones", "[0.2]", "a list"),
        ("schedule.learning_rates", [0.1, "x", 0.1], "a number"),
        ("evaluation.batch_norm", ["running"], "a text"),
        ("evaluation.batch_norm", None, "a text"),
        ("quantizer.weight_bits", 1.5, "a whole number, or null"),
        ("quantizer.weight_bits", "None", "a whole number, or null"),
        ("quantizer.weight_bits", "two", "a whole number, or null"),
        ("loss._partial_", "yes", "true or false"),
        ("name", 3, "a text"),
        ("paths.cache", 3, "a text"),
        ("data.val_fraction", "some", "a number"),
        ("data.val_fraction", None, "a number (null is not allowed)"),
        ("data.checksum", 7, "a text"),
        ("sweep.detach", "maybe", "true or false"),
        ("logger.wandb.tags", "mine", "a list"),
        ("logger.wandb.project", None, "a text"),
        ("logger.wandb.log_artifacts", "all", "true or false"),
    ],
)
def test_a_wrong_type_is_refused(changed: Changed, key: str, value: Any, allowed: str) -> None:
    wandb: dict[str, Any] = {"mode": "offline", "project": "p", "entity": None, "tags": []}
    wandb["log_artifacts"] = False
    line = refusal(changed({"logger.wandb": wandb, key: value}))
    assert line.startswith(key)
    assert repr(value) in line or "'x'" in line
    assert allowed in line


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("temperature.value", 0, "above 0"),
        ("temperature.value", -1, "above 0"),
        ("temperature.value", math.nan, "finite"),
        ("temperature.value", math.inf, "finite"),
        ("quantizer.weight_bits", 0, "at least 1 and at most 8, or null"),
        ("quantizer.weight_bits", 9, "at least 1 and at most 8, or null"),
        ("quantizer.activation_bits", 0, "at least 1 and at most 8, or null"),
        ("quantizer.activation_bits", 9, "at least 1 and at most 8, or null"),
        ("quantizer.activation_scale", 0.0, "above 0"),
        ("quantizer.activation_scale", math.inf, "finite"),
        ("seed", -1, "at least 0"),
        ("seed", 2**32, "at most"),
        ("teacher.seed", -1, "at least 0"),
        ("schedule.epochs", 0, "at least 1"),
        ("schedule.epochs", 2**31, "at most 2147483647"),
        ("teacher.schedule.epochs", 0, "at least 1"),
        ("schedule.batch_size", 0, "at least 1"),
        ("schedule.batch_size", 2**31, "at most 2147483647"),
        ("schedule.learning_rates", [0.1, 0.0, 0.1], "above 0"),
        ("schedule.learning_rates", [0.1, math.nan, 0.1], "finite"),
        ("schedule.milestones", [0.5, 1.0], "below 1"),
        ("schedule.milestones", [0, 0.5], "above 0"),
        ("schedule.l2", -1e-9, "at least 0"),
        ("batch_norm.momentum", 0, "above 0"),
        ("batch_norm.momentum", 1.5, "at most 1"),
        ("batch_norm.epsilon", 0, "above 0"),
        ("soft_weight.value", -1, "at least 0"),
        ("soft_weight.value", math.nan, "finite"),
        ("evaluation.calibration_images", 1, "at least 2"),
        ("evaluation.calibration_images", 2**31, "at most 2147483647"),
        ("evaluation.batch_size", 0, "at least 1"),
        ("evaluation.batch_size", 2**31, "at most 2147483647"),
        ("trainer.threads", 0, "at least 1"),
        ("trainer.threads", 1025, "at most 1024"),
        ("trainer.accelerator", "tpu", "cpu, gpu"),
        ("trainer.precision", "float16", "float32, bf16"),
        ("evaluation.batch_norm", "exact", "both, running, precise"),
    ],
)
def test_a_value_out_of_range_is_refused(
    changed: Changed, key: str, value: Any, allowed: str
) -> None:
    line = refusal(changed({key: value}))
    assert line.startswith(f"{key} = {value} is not allowed")
    assert allowed in line


@pytest.mark.parametrize("value", ["", "a/b", ".hidden", ".."])
def test_a_name_is_the_plain_name_of_a_folder(changed: Changed, value: str) -> None:
    assert refusal(changed({"name": value})).startswith(f"name = {value!r} is not allowed")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("temprature", "temperature"),
        ("temperature.valeu", "value"),
        ("schedule.epoch", "epochs"),
        ("teacher.schedule.batchsize", "batch_size"),
        ("paths.outputs", "output"),
        ("quantizer.weight_bit", "weight_bits"),
        ("loss.temprature", "temperature"),  # it is a setting, one level up
        ("data.val_fractoin", "val_fraction"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(changed: Changed, key: str, hint: str) -> None:
    line = refusal(changed({key: 1}))
    assert line.startswith(f"{key} is not a setting")
    assert line.endswith(f"did you mean {hint}?")


def test_an_unknown_key_unlike_any_other_gets_no_hint(changed: Changed) -> None:
    line = refusal(changed({"zzz": 1}))
    assert line.startswith("zzz is not a setting: a run has name, seed, paths")
    assert "did you mean" not in line


@pytest.mark.parametrize("key", ["name", "loss", "batch_norm.epsilon", "teacher.seed", "trainer"])
def test_a_missing_key_is_named(changed: Changed, key: str) -> None:
    assert refusal(changed({}, remove=(key,))).startswith(f"{key} is not set")


@pytest.mark.parametrize("key", ["epochs", "batch_size", "learning_rates", "milestones", "l2"])
def test_a_missing_key_that_another_follows_is_named(changed: Changed, key: str) -> None:
    """As ``teacher.schedule`` follows ``schedule``."""
    line = refusal(changed({}, remove=(f"schedule.{key}",)))
    assert line == f"schedule.{key} is not set: give schedule.{key}=VALUE on the command line"
    own: dict[str, Any] = {"epochs": 1, "batch_size": 1, "l2": 0.0}
    own |= {"learning_rates": [0.1], "milestones": []}
    line = refusal(changed({"teacher.schedule": own}, remove=(f"schedule.{key}",)))
    assert line.startswith(f"schedule.{key} is not set")


def test_a_mandatory_value_is_named(changed: Changed) -> None:
    line = refusal(changed({"data.checksum": "???"}))
    assert line == "data.checksum is not set: give data.checksum=VALUE on the command line"


def test_parquet_needs_a_folder(compose_run: Changed) -> None:
    assert refusal(compose_run("data=parquet")).startswith("data.path is not set")
    data = check(compose_run("data=parquet", "data.path=/x")).data
    assert getattr(data, "path", None) == "/x"


@pytest.mark.parametrize("node", TARGETS)
@pytest.mark.parametrize("target", ["os.system", "builtins.exec", "bitstill.train.run", ""])
def test_only_known_targets_are_instantiated(changed: Changed, node: str, target: str) -> None:
    line = refusal(changed({f"{node}._target_": target}))
    assert line.startswith(f"{node}._target_ = {target} is not allowed: choose one of ")
    assert next(iter(TARGETS[node])) in line


@pytest.mark.parametrize("node", TARGETS)
def test_a_node_without_a_target_is_refused(changed: Changed, node: str) -> None:
    assert refusal(changed({}, remove=(f"{node}._target_",))).startswith(f"{node}._target_")


@pytest.mark.parametrize("key", ["temperature._target_", "batch_norm._target_", "_target_"])
def test_a_target_where_none_belongs_is_refused(changed: Changed, key: str) -> None:
    assert refusal(changed({key: "os.system"})).startswith(f"{key} is not a setting")


@pytest.mark.parametrize(
    "node", ["loss", "data", "batch_norm", "teacher", "teacher.schedule", "logger"]
)
def test_a_node_is_no_plain_value(changed: Changed, node: str) -> None:
    line = refusal(changed({node: 3}))
    given, _, choice = line.partition(", or in a file a choice, under defaults: ")
    assert given == f"{node} = 3 is not allowed: give its settings, {node}.KEY=VALUE"
    assert choice == (f"'- override /{node}: 3'" if node in ("loss", "data", "logger") else "")


def test_a_choice_in_the_place_of_settings_that_others_refer_to(compose_run: Changed) -> None:
    composed = compose_run()
    composed.temperature = "T50"
    line = refusal(composed)
    assert line.startswith("temperature = T50 is not allowed: give its settings, temperature.KEY")
    assert line.endswith("'- override /temperature: T50'")


def test_an_experiment_without_its_first_line(changed: Changed) -> None:
    line = refusal(changed({"experiment": {"schedule": {"epochs": 2}}}))
    assert line.endswith("give the experiment's file '# @package _global_' as first line")


@pytest.mark.parametrize("name", ["schedule", "teacher.schedule"])
@pytest.mark.parametrize(
    ("rates", "milestones"),
    [
        ([0.1], [0.5]),
        ([0.1, 0.2], []),
        ([], []),
        ([0.1, 0.2, 0.3], [0.5, 0.2]),
        ([0.1, 0.2, 0.3], [0.5, 0.5]),
    ],
)
def test_milestones_fit_the_learning_rates(
    changed: Changed, name: str, rates: list[float], milestones: list[float]
) -> None:
    values = {f"{name}.learning_rates": rates, f"{name}.milestones": milestones}
    line = refusal(changed(values))
    assert line.startswith(f"{name}.milestones = ")
    assert f"{len(rates)} learning rates" in line


@pytest.mark.parametrize(
    ("value", "statistics"),
    [("both", ("running", "precise")), ("running", ("running",)), ("precise", ("precise",))],
)
def test_batch_norm_statistics_are_one_kind_or_both(
    changed: Changed, value: str, statistics: tuple[str, ...]
) -> None:
    config = check(changed({"evaluation.batch_norm": value}))
    assert config.evaluation.statistics == statistics


@pytest.mark.parametrize("choice", ["csv", "tensorboard", "wandb", "[tensorboard,wandb]"])
def test_loggers_combine(compose_run: Changed, choice: str) -> None:
    logger = check(compose_run(f"logger={choice}")).logger
    assert (logger.tensorboard is not None) == ("tensorboard" in choice)
    assert (logger.wandb is not None) == ("wandb" in choice)


@pytest.mark.parametrize("key", ["loss", "soft_weight"])
def test_what_training_completes_stays_partial(compose_run: Changed, key: str) -> None:
    line = refusal(compose_run(f"{key}._partial_=false"))
    assert line == f"{key}._partial_ = False is not allowed: leave it true"


def test_wandb_takes_short_tags(compose_run: Changed) -> None:
    tag = "a" * 65
    line = refusal(compose_run("logger=wandb", f"logger.wandb.tags=[fine,{tag}]"))
    assert line == f"logger.wandb.tags = '{tag}' is not allowed: give tags of 1 to 64 characters"


@pytest.mark.parametrize("mode", ["ofline", "shared"])
def test_wandb_has_three_modes(compose_run: Changed, mode: str) -> None:
    line = refusal(compose_run("logger=wandb", f"logger.wandb.mode={mode}"))
    assert line.startswith(f"logger.wandb.mode = {mode} is not allowed: give one of offline, on")


def test_an_unknown_interpolation_is_named(changed: Changed) -> None:
    line = refusal(changed({"schedule.l2": "${nowhere}"}))
    assert line.startswith("schedule.l2: ")
    assert "nowhere" in line


@pytest.fixture
def resolvers() -> Iterator[None]:
    yield
    application.register_resolvers()


@pytest.mark.usefixtures("resolvers")
@pytest.mark.parametrize(
    "error", [MemoryError(), SystemError("error return without exception set")], ids=["said", "not"]
)
def test_a_setting_is_not_blamed_for_a_lack_of_memory(changed: Changed, error: Exception) -> None:
    def square(_: float) -> float:
        raise error

    OmegaConf.register_new_resolver("square", square, replace=True)
    with pytest.raises(MemoryError) as caught:
        check(changed({"loss.soft_weight": "${square:2}"}))
    line = explain(caught.value, [])
    assert line is not None
    assert line.startswith("out of memory (")


@pytest.mark.parametrize("logger", ["foo", "csv", "tensorbaord"])
def test_an_unknown_logger_is_refused(changed: Changed, logger: str) -> None:
    line = refusal(changed({f"logger.{logger}": {"x": 1}}))
    assert logger in line
    assert "tensorboard" in line
    assert "wandb" in line


def test_a_whole_number_will_do_for_a_number(changed: Changed) -> None:
    config = check(changed({"temperature.value": 20, "schedule.learning_rates": [1, 1, 1]}))
    assert config.temperature.value == 20.0
    assert type(config.temperature.value) is float
    assert [type(rate) for rate in config.schedule.learning_rates] == [float] * 3


@pytest.mark.parametrize("key", ["weight_bits", "activation_bits"])
def test_null_bits_are_full_precision(changed: Changed, key: str) -> None:
    quantizer = check(changed({f"quantizer.{key}": None})).quantizer
    assert getattr(quantizer, key) is None


@pytest.mark.parametrize("bits", range(1, 9))
def test_one_to_eight_bits_are_allowed(changed: Changed, bits: int) -> None:
    assert check(changed({"quantizer.weight_bits": bits})).quantizer.weight_bits == bits


def test_one_rate_needs_no_milestone(changed: Changed) -> None:
    values = {"schedule.learning_rates": [0.1], "schedule.milestones": []}
    schedule = check(changed(values)).schedule
    assert [schedule.learning_rate(epoch) for epoch in (0, 59)] == [0.1, 0.1]


def test_a_checked_configuration_cannot_be_changed(default_run: DictConfig) -> None:
    config = check(default_run)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]  # what is tested


def test_the_hydra_node_is_not_looked_at(compose_run: Changed) -> None:
    plain = check(compose_run("seed=2"))
    assert check(compose_run("seed=2", hydra=True)) == plain


def test_settings_are_the_full_names(compose_run: Changed) -> None:
    names = settings()
    assert {"seed", "temperature.value", "schedule.epochs", "teacher.schedule.l2"} <= set(names)
    assert {"data.path", "soft_weight.initial", "quantizer.weight_bits"} <= set(names)
    assert len(names) == len(set(names))
    assert not [name for name in names if "_target_" in name]


@pytest.mark.parametrize("target", TARGETS["loss"])
def test_the_schema_knows_what_each_loss_reads(target: str) -> None:
    name = target.rpartition(".")[2]
    read = inspect.signature(getattr(losses, name)).parameters
    assert {*read} & {"teacher_logits", "soft_weight"} == {*LOSS_INPUTS[name]}


def test_scripts_compose_as_the_command_line_does(configure: Configure) -> None:
    overrides = ("loss=soft_hard", "temperature.value=20", "seed=3")
    assert compose(*SMALL, *overrides) == configure(None, *overrides)
    with pytest.raises(UserError, match=r"^seed = -1 is not allowed"):
        compose("seed=-1")
    with pytest.raises(
        UserError, match=r"^temperature=20 is not a choice: .* temperature.value=20$"
    ):
        compose("logger=[csv, tensorboard]", "temperature=20")
    with pytest.raises(
        UserError, match=r"^schedul.epochs is not a setting: .* mean schedule.epochs?"
    ):
        compose("schedul.epochs=3")
    with pytest.raises(UserError, match=r"^compose\(\['seed=1'\],\) .*: give texts"):
        compose(["seed=1"])  # type: ignore[arg-type]  # as hydra.compose takes them


def test_scripts_that_use_hydra_compose_too(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text("a: 1")
    with hydra.initialize_config_dir(str(tmp_path), "my_job", version_base="1.2"):
        assert compose(*SMALL, "loss=soft").loss_name == "soft"
        found = hydra.compose("theirs", return_hydra_config=True)
        assert found.a == 1, "what was in use is in use again"
        assert found.hydra.job.name == "my_job"
        assert str(getbase()) == "1.2"


def test_a_name_is_counted_in_bytes(changed: Changed) -> None:
    assert check(changed({"name": "ü" * 100})).name
    too_long = {"name": "ü" * 101}
    assert refusal(changed(too_long)).endswith("of at most 200 bytes")


def test_a_sweep_does_not_lie_among_the_teachers(changed: Changed, tmp_path: Path) -> None:
    store = {"paths.output": str(tmp_path), "paths.teachers": str(tmp_path / "store")}
    line = refusal(changed(store | {"name": "store"}))
    assert line.startswith("name = 'store' is not allowed: the folder is that of")


@pytest.mark.parametrize("name", ["schedule", "teacher.schedule"])
def test_a_batch_may_hold_all_images(compose_run: Changed, name: str) -> None:
    check_batches(check(compose_run("data=digits", "loss=soft", f"{name}.batch_size=1293")))


def test_a_number_too_large_for_a_float_is_refused(changed: Changed) -> None:
    assert "finite" in refusal(changed({"schedule.l2": 10**400}))


def test_what_lightning_would_take_from_the_environment_is_refused(
    changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_TRAINER_MAX_STEPS", "3")
    assert refusal(changed({})).startswith("PL_TRAINER_MAX_STEPS is set in the environment")


@pytest.mark.parametrize("name", ["ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"])
def test_less_than_float32_by_the_environment_is_refused(
    changed: Changed, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A convolution in bf16 gives other bits, and no record would say so."""
    for strict in ("STRICT", "strict", ""):
        monkeypatch.setenv(name, strict)
        check(changed({}))
    monkeypatch.setenv(name, "bf16")
    line = refusal(changed({}))
    assert line.startswith(f"{name} is set in the environment, and float32 would be computed in le")


def test_what_a_run_alone_knows_is_no_name_of_a_sweep(
    changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # as before any run
    line = refusal(changed({"name": "e-${hydra:runtime.choices.loss}"}))
    assert line == "name: ${hydra:...} is known to a run alone: give name=VALUE"


def test_an_agent_of_wandb_is_refused(
    changed: Changed, compose_run: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would give all runs one id. Without wandb's logger it does nothing."""
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    check(changed({}))
    line = refusal(compose_run("logger=wandb"))
    assert line.startswith("WANDB_SWEEP_ID is set in the environment, as by wandb agent")
    assert line.endswith("unset it, and sweep with bitstill train -m")
