import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests.asked import asked_again
from tests.conftest import Train
from tests.report.conftest import write_run, write_sweep

from bitstill.errors import UserError
from bitstill.report.content import build
from bitstill.report.keep import keep
from bitstill.report.page import render
from bitstill.report.sets import run_sets
from bitstill.report.sweeps import VIEWS, Run, RunSet, View, read_sweep, with_teachers
from bitstill.runs import RunPaths, read_record, status
from bitstill.runs.manifest import write_manifest


def flat(loss: str, temperature: float | None, seed: int) -> float:
    return 90.0


def test_views_cells_and_seeds(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(flat, seeds=range(2))
    assert runs.cells[:3] == ["teacher", "hard T=15", "soft T=10"]
    assert len(runs.cells) == 14
    assert runs.seeds == [0, 1]
    assert runs.percents("soft T=10", View("running", "last")) == pytest.approx({0: 90, 1: 90})
    assert runs.percents("soft T=10", View("precise", "best_test"))[0] == pytest.approx(90.4)


def test_correctness_has_a_bit_an_image_and_agrees_with_the_record(tmp_path: Path) -> None:
    write_run(tmp_path, "hard", 15.0, 0, 89.9)
    (run,) = read_sweep(tmp_path)
    for view in VIEWS:
        bits = run.correctness[str(view)]
        assert len(bits) == 1000
        percent = run.percent(view)
        assert percent is not None
        assert 100 * np.mean(bits) == pytest.approx(percent)


def test_runs_of_another_schedule_are_another_set(tmp_path: Path) -> None:
    students = [("hard", 15.0), ("soft", 15.0)]
    for epochs in (8, 9):
        schedule = {"epochs": epochs, "batch_size": 32}
        write_sweep(tmp_path / str(epochs), flat, seeds=[0], cells=students, schedule=schedule)
    runs = read_sweep(tmp_path / "8") + read_sweep(tmp_path / "9")
    names = [one.name for one in run_sets(runs)]
    assert names == ["made (schedule.epochs=8)", "made (schedule.epochs=9)"]


def test_threads_do_not_make_a_set(tmp_path: Path) -> None:
    for seed in (0, 1):
        paths = write_run(tmp_path, "hard", 15.0, seed, 90.0)
        text = paths.record.read_text()
        paths.record.write_text(text.replace('"threads": null', f'"threads": {seed + 1}'))
    assert len(run_sets(read_sweep(tmp_path))) == 1


def test_how_the_images_were_got_does_not_make_a_set(tmp_path: Path) -> None:
    for seed, got in enumerate(({"download": True, "checksum": None}, {"download": False})):
        paths = write_run(tmp_path, "hard", 15.0, seed, 90.0)
        plain = json.loads(paths.record.read_text())
        plain["config"]["data"] |= got
        paths.record.write_text(json.dumps(plain))
    assert len(run_sets(read_sweep(tmp_path))) == 1


def test_failed_runs_stay_in_their_set_and_out_of_the_means(tmp_path: Path) -> None:
    write_run(tmp_path, "hard", 15.0, 0, 90.0)
    write_run(tmp_path, "hard", 15.0, 1, 10.0, status="failed")
    (runs,) = run_sets(read_sweep(tmp_path))
    assert list(runs.percents("hard T=15", View("running", "last"))) == [0]
    assert [run.record.status for run in runs.of("hard T=15")] == ["done", "failed"]


@pytest.mark.parametrize(
    ("name", "what"), [("empty", "holds no runs"), ("none", "is not a folder")]
)
def test_a_folder_without_runs_is_said(name: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{what}: give the folder of a sweep, such as"):
        read_sweep(tmp_path / name)


def test_the_folder_of_one_run_is_no_sweep(tmp_path: Path) -> None:
    paths = write_run(tmp_path, "hard", 15.0, 0, 90.0)
    said = re.escape(f"{paths.directory} is a run: give the folder of its sweep, {tmp_path}")
    for read in (read_sweep, status.sweep_states):
        with pytest.raises(UserError, match=f"^{said}$"):
            read(paths.directory)


def test_a_damaged_record_costs_a_run_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, _ = (write_run(tmp_path, "hard", 15.0, seed, 90.0) for seed in (0, 1))
    damaged.record.write_bytes(damaged.record.read_bytes()[:100])
    assert [run.record.seed for run in read_sweep(tmp_path)] == [1]
    [line] = caplog.messages
    assert line.startswith(f"{damaged.record} is damaged (")


@pytest.mark.parametrize(
    ("overrides", "command"),
    [
        (["loss=soft", "seed=1", "logger=[csv,wandb]"], "loss=soft seed=1 'logger=[csv,wandb]'"),
        (["experiment=study", "seed=1"], "experiment=study seed=1 hydra.mode=RUN"),
    ],
)
def test_the_command_of_a_run(tmp_path: Path, overrides: list[str], command: str) -> None:
    paths = write_run(tmp_path, "hard", 15.0, 0, 89.9)
    paths.overrides.parent.mkdir()
    paths.overrides.write_text(json.dumps(overrides))
    [run] = read_sweep(tmp_path)
    assert run.command == f"bitstill train {command}"


def test_a_configuration_of_ones_own_is_named_in_the_command(
    train: Train, few_images: tuple[str, ...], tmp_path: Path
) -> None:
    """As Hydra itself notes it; what is kept of the run says so, too."""
    own = tmp_path / "own"
    (own / "machine").mkdir(parents=True)
    (own / "machine" / "laptop.yaml").write_text("# @package _global_\ntrainer: {threads: 1}\n")
    (own / "mine.yaml").write_text("defaults: [train, _self_]\nschedule: {epochs: 1}\n")
    given = ["+machine=laptop", "loss=hard", "name=mine", *few_images]
    code, _, err = train(
        "--config-dir", str(own), "-cn", "mine", *given, f"paths.output={tmp_path}"
    )
    assert code == 0, err
    keep(tmp_path / "mine", tmp_path / "kept")
    keep(tmp_path / "kept", tmp_path / "kept-again")
    for folder in ("mine", "kept", "kept-again"):
        [run] = read_sweep(tmp_path / folder)
        flags = "--config-dir FOLDER --config-name mine"
        assert run.command.startswith(f"bitstill train {flags} +machine=laptop loss=hard ")


def test_arguments_that_were_not_kept_are_no_command(tmp_path: Path) -> None:
    write_run(tmp_path, "hard", 15.0, 0, 89.9)
    [run] = read_sweep(tmp_path)
    assert run.command == "its arguments were not kept"


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("data", "source", [1]),
        ("schedule", "epochs", None),
        ("schedule", "batch_size", "x"),
        ("quantizer", "method", 3),
        ("quantizer", "weight_bits", "2"),
        ("teacher", "seed", [1]),
    ],
)
def test_a_configuration_of_other_types_is_refused(
    tmp_path: Path, group: str, key: str, value: object
) -> None:
    record = write_run(tmp_path, "hard", 15.0, 0, 80.0).record
    plain = json.loads(record.read_text())
    plain["config"][group][key] = value
    record.write_text(json.dumps(plain))
    with pytest.raises(
        UserError, match=rf"run\.json .*\(its {group}\.{key} is wrong\).*move it away"
    ):
        read_sweep(tmp_path)


def with_its_teacher_in_the_store(folder: Path, *losses: str) -> Path:
    """Write a sweep of students whose teacher lies in the store alone."""
    paths = write_run(folder / "mine", "teacher", None, 0, 95.0, name="another")
    identity = read_record(paths).identity  # type: ignore[union-attr]
    stored = RunPaths(folder / "teachers" / identity)
    stored.directory.parent.mkdir(exist_ok=True)
    paths.directory.rename(stored.directory)
    stored.teacher_logits.touch()
    for loss in losses:
        record = write_run(folder / "mine", loss, 15.0, 0, 90.0).record
        record.write_text(record.read_text().replace("t" * 64, identity))
    return folder / "mine"


def test_a_teacher_in_the_store_stands_with_the_students_that_read_it(tmp_path: Path) -> None:
    sweep = with_its_teacher_in_the_store(tmp_path, "soft", "soft_hard", "hard")
    own = read_sweep(sweep)
    assert len(own) == 3
    [runs] = run_sets(with_teachers(own))
    assert runs.cells == ["teacher", "hard T=15", "soft T=15", "soft_hard T=15"]
    assert runs.percents("teacher", View("running", "last")) == pytest.approx({0: 95})
    assert (runs.name, runs.folder) == ("made", sweep)


def test_the_page_says_where_a_teacher_in_the_store_lies_and_what_trains_it(tmp_path: Path) -> None:
    sweep = with_its_teacher_in_the_store(tmp_path, "soft")
    [stored] = map(RunPaths, (tmp_path / "teachers").iterdir())
    stored.teacher_logits.write_bytes(save({"logits": np.zeros((400, 10), np.float32)}))
    page = render(build([sweep]))
    for told in (f">{stored.directory}<", ">soft-15.0-0<", ">its students train it<"):
        assert page.count(told) == 1


def test_a_teacher_in_the_store_is_kept_with_what_a_report_needs(tmp_path: Path) -> None:
    sweep = with_its_teacher_in_the_store(tmp_path, "soft", "hard")
    keep(sweep, tmp_path / "kept" / "mine")
    [ours], [kept] = build([sweep]).sets, build([tmp_path / "kept" / "mine"]).sets
    assert [one.rows for one in ours.tables] == [one.rows for one in kept.tables]
    read, again = (dict(one.runs.of("teacher")[0].correctness) for one in (ours, kept))
    assert read.keys() == again.keys() == {str(view) for view in VIEWS}


def test_a_teacher_in_the_store_that_the_sweep_asks_for_is_not_awaited(tmp_path: Path) -> None:
    """A student has come first: its teacher is done, and not yet copied into the sweep."""
    sweep = with_its_teacher_in_the_store(tmp_path, "soft")
    [teacher, student] = with_teachers(read_sweep(sweep))
    asked = asked_again(Run(RunPaths(sweep / "teacher"), teacher.record), teacher.paths)
    write_manifest(sweep, [asked, asked_again(student)])
    assert status.look(asked).status == "stored"
    [one] = build([sweep]).sets
    assert one.asked == 2
    [table1] = [table for table in one.tables if table.name == "table1"]
    assert [row[-1] for row in table1.rows] == ["1", "1"]


def test_a_teacher_that_no_student_has_read_does_not(tmp_path: Path) -> None:
    runs = read_sweep(with_its_teacher_in_the_store(tmp_path, "hard"))
    assert with_teachers(runs) == runs


@pytest.mark.parametrize("damage", ["another run's", "cut", "no logits"])
def test_a_teacher_that_is_not_what_was_read_does_not(tmp_path: Path, damage: str) -> None:
    runs = read_sweep(with_its_teacher_in_the_store(tmp_path, "soft"))
    [stored] = map(RunPaths, (tmp_path / "teachers").iterdir())
    text = stored.record.read_text()
    if damage == "another run's":
        stored.record.write_text(text.replace(stored.directory.name, "f" * 64))
    elif damage == "cut":
        stored.record.write_text(text[:100])
    else:
        stored.teacher_logits.unlink()
    assert with_teachers(runs) == runs


def test_a_teacher_beside_the_sweep_is_found_without_the_configuration(tmp_path: Path) -> None:
    """So a damaged one does not end a sweep whose runs are done."""
    sweep = with_its_teacher_in_the_store(tmp_path, "soft")
    [student] = read_sweep(sweep)
    student.paths.composed.parent.mkdir()
    student.paths.composed.write_text("[")
    assert len(with_teachers([student])) == 2


def test_a_teacher_of_the_sweep_stands_there_once(tmp_path: Path) -> None:
    sweep = with_its_teacher_in_the_store(tmp_path, "soft")
    [stored] = (tmp_path / "teachers").iterdir()
    shutil.copytree(stored, sweep / "teacher")
    runs = read_sweep(sweep)
    assert len(runs) == 2
    assert with_teachers(runs) == runs
