"""Identity, record and files of a run."""

import dataclasses
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitstill import runs
from bitstill.errors import UserError
from bitstill.runs import RunPaths, RunRecord, identity
from bitstill.schema import TrainConfig

Configure = Callable[..., TrainConfig]
SELECTIONS: dict[str, dict[str, runs.Row | None]] = {
    "running": {
        "last": {"epoch": 2.0, "test/accuracy": 0.5},
        "best_val": None,
        "best_test": {"epoch": 1.0, "test/accuracy": 0.1 + 0.2},
    }
}


def record(**changes: object) -> RunRecord:
    plain = RunRecord(
        status="done",
        identity="a" * 64,
        model="student",
        loss="soft",
        temperature=15.0,
        seed=0,
        epoch=2,
        epochs=2,
        config={"seed": 0},
        data_identity="d",
        teacher_identity=None,
        selections=SELECTIONS,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]  # as given


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


def test_an_identity_changes_with_the_codes_version(
    identified: Identified, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = identified()
    monkeypatch.setattr(runs, "RESULT_VERSION", runs.RESULT_VERSION + 1)
    assert identified() != before


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
    assert identity(runs.teacher_of(student), "d") == identity(teacher, "d")
    assert runs.teacher_of(student).is_teacher


def test_an_identity_is_a_sha256(identified: Identified) -> None:
    assert len(bytes.fromhex(identified())) == 32


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["model=teacher", "seed=3"], "teacher-seed3-0123456789"),
        (["loss=hard"], "hard-T15-seed0-0123456789"),
        (["loss=soft_hard", "temperature=T100"], "soft_hard-T100-seed0-0123456789"),
        (["loss=soft", "temperature.value=1.5"], "soft-T1.5-seed0-0123456789"),
    ],
)
def test_a_folder_is_named_for_a_person(
    configure: Configure, overrides: list[str], name: str
) -> None:
    assert runs.directory_name(configure(None, *overrides), "0123456789abcdef") == name


def test_a_portable_configuration_holds_no_folder(configure: Configure, tmp_path: Path) -> None:
    config = configure(tmp_path, "data=parquet", f"data.path={tmp_path}", "logger=wandb")
    plain = runs.portable(config)
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


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("function", ["fsync", "fdopen", "umask"])
def test_an_interrupted_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")

    def stop(*arguments: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(os, function, stop)
        with pytest.raises(Interrupted):
            runs.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path], "a temporary file is left"


def test_a_write_replaces_the_content(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for content in (b"old and long", b"new"):
        runs.write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_write_respects_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    path = tmp_path / "run.json"
    before = os.umask(mask)
    try:
        runs.write_atomically(path, b"x")
        assert os.umask(mask) == mask, "the umask itself has changed"
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_a_record_reads_back(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    written = record(error={"type": "A", "message": "b", "traceback": "c"}, seconds=1.5)
    written.write(paths)
    assert runs.read_record(paths) == written


def test_a_record_is_strict_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        record(seconds=math.nan).write(RunPaths(tmp_path))
    assert not list(tmp_path.iterdir())


def test_no_record_is_none(tmp_path: Path) -> None:
    assert runs.read_record(RunPaths(tmp_path)) is None
    assert not runs.is_done(RunPaths(tmp_path), "a" * 64)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"schema_version": 1', "cannot be read"),
        (b"[1]", "schema version None, and this bitstill reads 1"),
        (b"{}", "schema version None, and this bitstill reads 1"),
        (b'{"schema_version": 2}', "schema version 2, and this bitstill reads 1"),
        (b'{"schema_version": 1}', "is no run record"),
        (b'{"schema_version": 1, "colour": "red"}', "is no run record"),
    ],
)
def test_a_foreign_record_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    paths = RunPaths(tmp_path)
    paths.record.write_bytes(content)
    with pytest.raises(UserError) as caught:
        runs.read_record(paths)
    message = str(caught.value)
    assert message.startswith(str(paths.record))
    assert words in message
    assert "\n" not in message


def test_a_folder_in_place_of_a_record_is_refused(tmp_path: Path) -> None:
    RunPaths(tmp_path).record.mkdir()
    with pytest.raises(UserError, match=r"run\.json cannot be read"):
        runs.read_record(RunPaths(tmp_path))


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_a_run_is_done_when_its_record_says_so(tmp_path: Path, status: str) -> None:
    paths = RunPaths(tmp_path)
    record().write(paths)
    assert runs.is_done(paths, "a" * 64)
    assert not runs.is_done(paths, "b" * 64)
    record(status=status).write(paths)
    assert not runs.is_done(paths, "a" * 64)


def test_a_sweep_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, seed in (("b", 1), ("a", 2), ("c", 3)):
        (tmp_path / name).mkdir()
        record(seed=seed).write(RunPaths(tmp_path / name))
    (tmp_path / "empty").mkdir()
    (tmp_path / "multirun.yaml").touch()
    assert [found.seed for found in runs.load_sweep(tmp_path)] == [2, 1, 3]


def test_a_cell_is_a_runs_entry_seeds_aside() -> None:
    assert record(temperature=1.5).cell == record(temperature=1.5, seed=4).cell == "soft T=1.5"
    assert record(model="teacher", loss="hard", temperature=None).cell == "teacher"


def rows(test: list[float], val: list[float] | None = None) -> list[runs.Row]:
    found = []
    for index, accuracy in enumerate(test):
        row = {"epoch": index + 1, "train/loss": 1.0, "test/accuracy": accuracy}
        found.append(row | ({} if val is None else {"val/accuracy": val[index]}))
    return found


def test_select_the_three_epochs() -> None:
    chosen = runs.select(rows([0.1, 0.9, 0.3, 0.2], [0.1, 0.2, 0.8, 0.4]), ["running"])
    assert chosen == {
        "running": {
            "last": {"epoch": 4, "val/accuracy": 0.4, "test/accuracy": 0.2},
            "best_val": {"epoch": 3, "val/accuracy": 0.8, "test/accuracy": 0.3},
            "best_test": {"epoch": 2, "val/accuracy": 0.2, "test/accuracy": 0.9},
        }
    }


def test_select_the_first_of_equals() -> None:
    chosen = runs.select(rows([0.1, 0.5, 0.5], [0.2, 0.1, 0.2]), ["running"])["running"]
    best_val, best_test = chosen["best_val"], chosen["best_test"]
    assert best_val is not None
    assert best_test is not None
    assert (best_val["epoch"], best_test["epoch"]) == (1, 2)


def test_select_without_validation_images() -> None:
    chosen = runs.select(rows([0.1, 0.5]), ["running"])["running"]
    assert chosen["best_val"] is None
    assert chosen["best_test"] == {"epoch": 2, "test/accuracy": 0.5}


def test_select_each_kind_of_statistics_by_itself() -> None:
    both = [
        row | {"test/accuracy_precise": precise}
        for row, precise in zip(rows([0.9, 0.1]), [0.2, 0.3], strict=True)
    ]
    chosen = runs.select(both, ["running", "precise"])
    assert chosen["running"]["best_test"] == {"epoch": 1, "test/accuracy": 0.9}
    assert chosen["precise"]["best_test"] == {"epoch": 2, "test/accuracy": 0.3}


NUMBERS = st.floats(allow_nan=False)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=5))
def test_curves_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[float, float]]
) -> None:
    written: list[runs.Row] = [
        {"epoch": index + 1, "train/loss": loss, "test/accuracy": accuracy}
        for index, (loss, accuracy) in enumerate(values)
    ]
    paths = RunPaths(tmp_path_factory.mktemp("curves"))
    runs.write_curves(paths, written)
    assert runs.read_curves(paths) == written


def test_damaged_curves_and_results_are_one_line(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    paths.metrics.write_text("epoch,train/loss\n1,abc\n")
    with pytest.raises(UserError, match=r"metrics.csv is damaged: move it away, or do the run"):
        runs.read_curves(paths)
    record(images={"test": 8}).write(paths)
    for content in (b"junk", b"PK\x03\x04junk"):
        paths.correctness.write_bytes(content)
        with pytest.raises(UserError, match=r"correctness.npz is damaged: move it away"):
            runs.read_correctness(paths)


def test_curves_may_gain_a_column(tmp_path: Path) -> None:
    written: list[runs.Row] = [{"epoch": 1}, {"epoch": 2, "new": 0.5}]
    runs.write_curves(RunPaths(tmp_path), written)
    assert RunPaths(tmp_path).metrics.read_text() == "epoch,new\n1,\n2,0.5\n"
    assert runs.read_curves(RunPaths(tmp_path)) == written
