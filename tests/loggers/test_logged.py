"""A finished run is logged by the same command to what has not had it, and is not trained again."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.conftest import SMALL, Configure, Train, made_up, read_only
from tests.loggers.test_tensorboard import events
from tests.wandb_files import epochs, files, overview, records

import bitstill.train
from bitstill.loggers import outcome
from bitstill.loggers.logged import hand_on, mark_logged, not_logged
from bitstill.loggers.tensorboard_log import TensorboardLog
from bitstill.report.figures.figure import Figure
from bitstill.runs import RunPaths, in_store, load_sweep
from bitstill.runs.identity import identity as identity_of
from bitstill.schema import LoggerConfig, TensorboardConfig, TrainConfig, WandbConfig

pytestmark = pytest.mark.usefixtures("restored")

RunHere = Callable[..., RunPaths]

TENSORBOARD = TensorboardConfig()
WANDB = WandbConfig(mode="offline", project="bits", entity=None, tags=[], log_artifacts=False)


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path)


def test_each_destination_is_marked_for_itself(run: RunPaths) -> None:
    settings = LoggerConfig(TENSORBOARD, WANDB)
    assert not_logged(settings, run) == {"tensorboard": TENSORBOARD, "wandb bits": WANDB}
    mark_logged(run, ["wandb bits"])
    assert not_logged(settings, run) == {"tensorboard": TENSORBOARD}
    mark_logged(run, ["tensorboard"])
    assert not_logged(settings, run) == {}
    assert json.loads(run.logged.read_bytes()) == ["tensorboard", "wandb bits"]


@pytest.mark.parametrize(("entity", "project"), [(None, "others"), ("lab", "bits")])
def test_another_project_is_another_destination(
    run: RunPaths, entity: str | None, project: str
) -> None:
    mark_logged(run, ["wandb bits"])
    other = WandbConfig("offline", project, entity, tags=[], log_artifacts=False)
    [name] = not_logged(LoggerConfig(wandb=other), run)
    assert name in ("wandb others", "wandb lab/bits")
    online = WandbConfig("online", "bits", None, tags=["new"], log_artifacts=True)
    assert not not_logged(LoggerConfig(wandb=online), run), "bitstill sync sends it"


def test_what_is_disabled_is_no_destination(run: RunPaths) -> None:
    disabled = WandbConfig("disabled", "bits", None, tags=[], log_artifacts=False)
    assert not not_logged(LoggerConfig(wandb=disabled), run)
    mark_logged(run, [])
    assert not run.logged.exists()


@pytest.mark.parametrize("content", [b"", b"\xff", b"3", b"[1]", b'{"wandb bits": 1}'])
def test_a_damaged_mark_is_none(run: RunPaths, content: bytes) -> None:
    run.logged.write_bytes(content)
    assert not_logged(LoggerConfig(TENSORBOARD), run)
    mark_logged(run, ["tensorboard"])
    assert not not_logged(LoggerConfig(TENSORBOARD), run)


def test_a_copied_teacher_is_not_logged_to_wandb_again(tmp_path: Path) -> None:
    stored, copy = RunPaths(tmp_path / "stored"), RunPaths(tmp_path / "copy")
    for paths in (stored, copy):
        paths.directory.mkdir()
        paths.record.touch()
    mark_logged(stored, ["tensorboard", "wandb bits"])
    hand_on(stored, copy)
    left = not_logged(LoggerConfig(TENSORBOARD, WANDB), copy)
    assert left == {"tensorboard": TENSORBOARD}, "its files lie in the store"


def test_a_store_that_is_read_only_stays_as_it_is(tmp_path: Path) -> None:
    """As that of a colleague: a copy of its teacher is logged, and the run does not fail."""
    stored, copy = RunPaths(tmp_path / "stored"), RunPaths(tmp_path / "copy")
    for paths in (stored, copy):
        paths.directory.mkdir()
        paths.record.touch()
    mark_logged(copy, ["wandb bits"])
    with read_only(stored.directory):
        hand_on(copy, stored)
    assert not stored.logged.exists()


def test_a_teacher_that_is_logged_later_is_logged_for_all(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its copy in another sweep would be logged to wandb again."""

    def log(config: TrainConfig, paths: RunPaths, data: object) -> None:
        mark_logged(paths, ["wandb bitstill"])

    monkeypatch.setattr(bitstill.train, "log_finished", log)
    config = configure(tmp_path, "model=teacher", "logger=wandb")
    identity = identity_of(config, config.data.identity())
    stored, copy = in_store(config, identity), RunPaths(tmp_path / "mine" / "teacher")
    for paths in (stored, copy):
        paths.directory.mkdir(parents=True)
        made_up(identity=identity, model="teacher", temperature=None).write(paths)
    bitstill.train.run(config, copy.directory)
    assert not not_logged(config.logger, stored)


@pytest.mark.slow
def test_a_finished_run_is_logged_and_not_trained(
    run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = run_here("logger=csv", "schedule.epochs=2")
    record, metrics = paths.record.read_bytes(), paths.metrics.read_bytes()
    monkeypatch.delattr(bitstill.train, "_fit")
    run_here("logger=[tensorboard,wandb]", "schedule.epochs=2")
    [[file]] = files(tmp_path / "mine").values()
    assert epochs(file) == [1, 2]
    assert overview(file)["exit_code"] == 0
    found = events(paths.directory)
    assert [event.step for event in found.Scalars("train/loss")] == [1, 2]
    assert "pictures/confusion" in found.Tags()["images"]
    assert (paths.record.read_bytes(), paths.metrics.read_bytes()) == (record, metrics)
    monkeypatch.delattr(bitstill.train, "log_finished")
    assert run_here("logger=[tensorboard,wandb]", "schedule.epochs=2") == paths, "once"


def test_what_a_logger_missed_is_logged_by_the_same_command(
    run_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*values: object, **options: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(TensorboardLog, "log_rows", refuse)
        paths = run_here("logger=tensorboard")
    assert not paths.logged.exists()
    run_here("logger=tensorboard")
    assert [event.step for event in events(paths.directory).Scalars("train/loss")] == [1]
    assert paths.logged.exists()


def test_curves_that_cannot_be_read_are_said(
    run_here: RunHere, said: Callable[[], list[str]]
) -> None:
    """And end the logger's run: the next of the process would go on in it."""
    paths = run_here("logger=csv")
    content = paths.metrics.read_bytes()
    paths.metrics.unlink()
    run_here("logger=tensorboard")
    assert [line.partition(" (")[0] for line in said()] == ["the curves: not written any more"]
    assert not paths.logged.exists()
    paths.metrics.write_bytes(content)
    run_here("logger=tensorboard")
    assert paths.logged.exists()


def test_what_is_done_stays_done_while_it_is_logged(
    run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C as a server is waited for."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TensorboardLog, "log_outcome", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_here("logger=tensorboard")
    [record] = load_sweep(tmp_path / "mine")
    assert record.status == "done"
    assert run_here("logger=tensorboard").logged.exists()


def test_kept_records_are_logged_without_pictures(
    run_here: RunHere, tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    paths = run_here("logger=csv")
    for path in (paths.weights, paths.best_val_weights, paths.packed, paths.checkpoint):
        path.unlink()
    run_here("logger=wandb", "logger.wandb.log_artifacts=true")
    [[file]] = files(tmp_path / "mine").values()
    summary = overview(file)["summary"]
    assert summary["best_val/test_accuracy"] > 0
    assert "pictures" not in summary
    assert said() == []


@pytest.mark.slow
def test_a_teacher_from_the_store_is_logged_by_its_own_sweep(
    configure: Configure, tmp_path: Path
) -> None:
    """One that a sweep without loggers has trained; and to wandb once, whoever asks for it."""
    both = "logger=[tensorboard,wandb]"
    for name, logger in (("first", "logger=csv"), ("second", both), ("third", both)):
        config = configure(tmp_path, "model=teacher", f"name={name}", logger)
        paths = RunPaths(tmp_path / name / "teacher")
        bitstill.train.run(config, paths.directory)
        if name != "first":
            assert [one.step for one in events(paths.directory).Scalars("train/loss")] == [1]
    [[file]] = files(tmp_path / "second").values()
    assert [one["run"]["run_group"] for one in records(file) if one["type"] == "run"] == ["second"]
    assert not files(tmp_path / "third")


@pytest.mark.slow
def test_another_project_gets_all_curves(run_here: RunHere, tmp_path: Path) -> None:
    for project in ("one", "other"):
        run_here("logger=wandb", "schedule.epochs=2", f"logger.wandb.project={project}")
    [sittings] = files(tmp_path / "mine").values()
    assert [epochs(file) for file in sittings] == [[1, 2], [1, 2]]


def test_an_outcome_that_cannot_be_shown_is_tried_again(
    run_here: RunHere, monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[str]]
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no picture")

    with monkeypatch.context() as patch:
        patch.setattr(outcome, "_confusion", refuse)
        paths = run_here("logger=tensorboard")
    assert [line.partition(";")[0] for line in said()] == [
        "the outcome: not written any more (no picture)"
    ]
    assert not paths.logged.exists()
    run_here("logger=tensorboard")
    assert "pictures/confusion" in events(paths.directory).Tags()["images"]


def test_classes_too_many_for_a_picture_have_none(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Figure("confusion", "", "", drawing="<svg xmlns='http://www.w3.org/2000/svg'/>")
    monkeypatch.setattr(outcome, "weight_figures", lambda _: [])
    monkeypatch.setattr(outcome, "_confusion", lambda *_: drawn)
    run.weights.touch()
    for classes, pictures in ((200, 1), (201, 0)):
        data: Any = SimpleNamespace(classes=classes)
        assert len(outcome.outcome_of(run, made_up(), data).pictures) == pictures


@pytest.mark.slow
def test_a_finished_sweep_is_logged(train: Train, command: Train, tmp_path: Path) -> None:
    given = (*SMALL, "name=mine", "loss=hard,gt_soft_hard", f"paths.output={tmp_path}")
    assert train("-m", *given)[0] == 0
    _, out, _ = command("plan", *given, "logger=tensorboard")
    assert out.count(" log ") == 2
    assert "To do: 0 runs; finished runs to log: 2; time: 0:00 " in out
    code, _, err = train("-m", *given, "logger=tensorboard")
    assert code == 0
    assert "2 runs: 0 skipped, 0 to do, 2 done before to log" in err
    for run in (tmp_path / "mine").glob("*/run.json"):
        assert [event.step for event in events(run.parent).Scalars("train/loss")] == [1]
    _, _, err = train("-m", *given, "logger=tensorboard")
    assert "2 runs: 2 skipped, 0 to do" in err
    assert "to log" not in err
