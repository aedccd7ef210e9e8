"""Which run a configuration means."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.conftest import Compose, Configure

from bitstill.configuration.check import check
from bitstill.report.sweeps import read_sweep
from bitstill.runs.identity import cell_name, directory_name, identity, portable_config, teacher_of


@pytest.fixture(scope="session")
def identified(configure: Configure) -> Callable[..., str]:
    def of(*overrides: str, data: str = "data") -> str:
        return identity(configure(None, *overrides), data)

    return of


Identified = Callable[..., str]

DECIDES = [
    "seed=1",
    "model=teacher",
    "loss=hard",
    "temperature=T50",
    "soft_weight=constant",
    "soft_weight.value=3",
    "quantizer=dorefa",
    "quantizer.weight_bits=1",
    "quantizer.weight_bits=null",
    "quantizer.activation_bits=2",
    "quantizer.activation_scale=0.5",
    "schedule.epochs=2",
    "schedule.batch_size=64",
    "schedule.learning_rates=[0.1,0.01,0.001]",
    "schedule.milestones=[0.1,0.2]",
    "schedule.l2=0",
    "batch_norm.momentum=0.1",
    "batch_norm.epsilon=0.01",
    "evaluation.batch_norm=running",
    "evaluation.calibration_images=65",
    "evaluation.batch_size=64",
    "teacher.seed=1",
    "teacher.schedule.epochs=2",
    "trainer.accelerator=gpu",
    "trainer.precision=bf16",
]
DECIDES_NOTHING = [
    "paths.output=/elsewhere",
    "paths.teachers=/elsewhere",
    "paths.cache=/elsewhere",
    "logger=tensorboard",
    "logger=wandb",
    "trainer.threads=2",
    "sweep.rerun=all",
    "sweep.on_failure=stop",
    "sweep.detach=true",
    "name=other",
]


@pytest.mark.parametrize("override", DECIDES)
def test_an_identity_changes_with_what_decides_the_result(
    identified: Identified, override: str
) -> None:
    assert identified("loss=soft_hard", override) != identified("loss=soft_hard")


def test_an_identity_changes_with_the_data(identified: Identified) -> None:
    assert identified(data="a") != identified(data="b")
    assert identified("loss=soft", data="a") != identified("loss=soft", data="b")


def test_an_identity_changes_with_the_split(configure: Configure) -> None:
    found = {
        configure(None, *overrides).data.identity()
        for overrides in ([], ["data.val_fraction=0.2"], ["data.split_seed=1"])
    }
    assert len(found) == 3


@pytest.mark.parametrize(
    ("version", "changed"),
    [
        ("STUDENT_VERSION", ["loss=hard", "loss=soft"]),
        ("TEACHER_VERSION", ["model=teacher", "loss=soft"]),  # soft has a teacher, hard none
    ],
)
def test_an_identity_changes_with_the_version_of_what_it_trains(
    identified: Identified, monkeypatch: pytest.MonkeyPatch, version: str, changed: list[str]
) -> None:
    runs = ("model=teacher", "loss=hard", "loss=soft")
    before = [identified(run) for run in runs]
    monkeypatch.setattr(f"bitstill.runs.identity.{version}", 1000)
    after = [identified(run) for run in runs]
    found = [run for run, one, other in zip(runs, before, after, strict=True) if one != other]
    assert sorted(found) == sorted(changed)


@pytest.mark.parametrize("override", DECIDES_NOTHING)
def test_an_identity_does_not_change_with_what_decides_nothing(
    identified: Identified, override: str
) -> None:
    assert identified("loss=soft_hard", override) == identified("loss=soft_hard")


@pytest.mark.parametrize(
    ("run", "override"),
    [
        ("loss=hard", "teacher.seed=1"),
        ("loss=hard", "teacher.schedule.epochs=2"),
        ("loss=hard", "soft_weight=constant"),
        ("loss=gt_soft_hard", "teacher.seed=1"),
        ("loss=gt_soft_hard", "teacher.schedule.epochs=2"),
        ("loss=soft", "soft_weight=constant"),
        ("loss=soft", "soft_weight=cosine"),
        ("model=teacher", "loss=soft_hard"),
        ("model=teacher", "temperature=T50"),
        ("model=teacher", "soft_weight=linear"),
        ("model=teacher", "quantizer=dorefa"),
        ("model=teacher", "teacher.seed=1"),
        ("model=teacher", "teacher.schedule.epochs=2"),
    ],
)
def test_an_identity_does_not_depend_on_what_is_not_read(
    identified: Identified, run: str, override: str
) -> None:
    assert identified(run, override) == identified(run)


def test_a_soft_loss_depends_on_the_whole_teacher(identified: Identified) -> None:
    # With the run's own values fixed, so that the teacher alone changes.
    found = {
        identified(f"loss={loss}", override)
        for loss in ("soft", "soft_hard")
        for override in ("teacher.seed=7", "teacher.schedule.l2=0", "teacher.schedule.epochs=3")
    }
    assert len(found) == 6


def test_a_temperature_is_its_value_not_its_name(identified: Identified) -> None:
    loss = "loss=soft_hard"
    assert identified(loss, "temperature=T15") == identified(
        loss, "temperature=T1", "temperature.value=15"
    )
    assert identified(loss, "temperature.value=15.0") == identified(loss, "temperature.value=15")


def test_a_students_teacher_is_the_teacher_that_a_teachers_run_trains(
    configure: Configure,
) -> None:
    student = configure(None, "loss=soft", "seed=1", "teacher.seed=2")
    teacher = configure(None, "model=teacher", "seed=2")
    assert identity(teacher_of(student), "d") == identity(teacher, "d")
    assert teacher_of(student).is_teacher


STUDY = Path(__file__).parents[2] / "multirun" / "svhn-resplit"


def test_the_commands_of_recorded_runs_mean_them_still(
    compose_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for a version that is raised: else a study of days would be begun again."""
    for version, recorded in (("TEACHER_VERSION", 4), ("STUDENT_VERSION", 5)):
        monkeypatch.setattr(f"bitstill.runs.identity.{version}", recorded)
    found = [run for run in read_sweep(STUDY) if run.record.seed == 0]
    chosen = [run for run in found if run.record.temperature in (None, 15.0)]
    assert len(chosen) == 5, "a teacher, and a student of each loss"
    for run in chosen:
        record = run.record
        config = check(compose_run(*yaml.safe_load(run.paths.overrides.read_text())))
        assert identity(config, record.data_identity) == record.identity, record.cell
        if record.teacher_identity is not None:
            taught = identity(teacher_of(config), record.data_identity)
            assert taught == record.teacher_identity


def test_an_identity_is_a_sha256(identified: Identified) -> None:
    assert len(bytes.fromhex(identified())) == 32


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["model=teacher", "seed=3"], "teacher-seed3-0123456789"),
        (["loss=hard"], "hard-T15-seed0-0123456789"),
        (["loss=soft_hard", "temperature=T100"], "soft_hard-T100-seed0-0123456789"),
        (["loss=soft", "temperature.value=1.5"], "soft-T1.5-seed0-0123456789"),
        (["loss=soft", "temperature.value=1234567"], "soft-T1.23457e+06-seed0-0123456789"),
    ],
)
def test_a_folder_is_named_for_a_person(
    configure: Configure, overrides: list[str], name: str
) -> None:
    assert directory_name(configure(None, *overrides), "0123456789abcdef") == name


def test_no_two_temperatures_fill_one_cell() -> None:
    """Their runs would be averaged as if they differed in seed alone."""
    assert cell_name("soft", 0.1) == "soft T=0.1"
    assert cell_name("soft", 15.0) == "soft T=15"
    assert cell_name("soft", 1e6) == "soft T=1e+06"
    assert cell_name("soft", 2.718281) != cell_name("soft", 2.718282)
    assert cell_name("soft", 1000001.0) == "soft T=1000001.0"


def test_a_portable_configuration_holds_no_folder(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path, "data=parquet", f"data.path={tmp_path}", "logger=wandb")
    plain = portable_config(config)
    text = json.dumps(plain)
    assert str(tmp_path) not in text
    assert os.environ["BITSTILL_CACHE"] not in text
    assert not {"paths", "logger", "sweep"} & set(plain)
    assert plain["data"] == {
        "source": "parquet",
        "val_fraction": 0.1,
        "split_seed": 0,
        "checksum": None,
    }
    assert plain["schedule"]["batch_size"] == 128


def test_an_address_may_hold_a_key(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path, "data=svhn", "data.url=https://me:secret@mirror.example/")
    assert "secret" not in str(portable_config(config))


def test_a_method_that_quantizes_no_weights_is_not_read(identified: Identified) -> None:
    full = "quantizer.weight_bits=null"
    assert identified(full, "quantizer=dorefa") == identified(full, "quantizer=mean_scaled")
    assert identified("quantizer=dorefa") != identified("quantizer=mean_scaled")
