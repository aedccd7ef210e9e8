"""A run is exported from its directory alone."""

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.deploy.conftest import record
from tests.students import random_student

from bitstill.deploy.finished import Choice, load_run
from bitstill.errors import UserError
from bitstill.models import Teacher
from bitstill.runs import RunPaths, read_record
from bitstill.training.weights import save_weights


def test_the_last_weights_with_exact_statistics(student_run: Path) -> None:
    run, expected = load_run(student_run, Choice()), random_student(5).state_dict()
    assert (run.statistics, run.epoch, run.test_accuracy) == ("precise", 3, 0.75)
    for name, value in run.network.state_dict().items():
        offset = 0.01 if name.endswith("running_mean") else 0
        assert torch.equal(value, expected[name] + offset if offset else expected[name])
    assert not run.network.training


def test_running_statistics_by_choice(student_run: Path) -> None:
    run = load_run(student_run, Choice(statistics="running"))
    expected = random_student(5).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in run.network.state_dict().items())


def test_best_val(student_run: Path) -> None:
    run = load_run(student_run, Choice("best_val"))
    assert (run.epoch, run.test_accuracy) == (2, 0.5)
    weight = random_student(6).classifier.weight
    assert torch.equal(run.network.classifier.weight, weight)
    # The file holds the epoch chosen under exact statistics; under running ones it is unrated.
    assert load_run(student_run, Choice("best_val", "running")).test_accuracy is None


def test_a_teacher_has_what_it_has(teacher_run: Path) -> None:
    run = load_run(teacher_run, Choice())
    assert isinstance(run.network, Teacher)
    assert run.statistics == "running"
    with pytest.raises(UserError, match=r"no exact batch norm .* give --statistics running"):
        load_run(teacher_run, Choice(statistics="precise"))
    with pytest.raises(UserError, match="no validation images; give --select last"):
        load_run(teacher_run, Choice("best_val"))


def test_a_sweep(student_run: Path, teacher_run: Path) -> None:
    sweep = student_run.parent
    with pytest.raises(UserError, match="a sweep of 2 finished runs: give one of its folders"):
        load_run(sweep, Choice())
    better = sweep / "better"
    shutil.copytree(student_run, better)
    selections = record("student").selections
    selections["precise"]["best_val"] = {"epoch": 1.0, "val/accuracy": 0.9, "test/accuracy": 0.8}
    record("student", selections=selections).write(RunPaths(better))
    run = load_run(sweep, Choice("best_val"))
    assert (run.directory, run.test_accuracy) == (better, 0.8)
    shutil.rmtree(better)
    shutil.rmtree(student_run)
    with pytest.raises(UserError, match="no student with validation images"):
        load_run(sweep, Choice("best_val"))


def test_what_is_no_finished_run(student_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no finished run: give a folder with a run.json"):
        load_run(tmp_path / "nowhere", Choice())
    paths = RunPaths(student_run)
    found = read_record(paths)
    assert found is not None
    dataclasses.replace(found, status="interrupted").write(paths)
    with pytest.raises(UserError, match="is interrupted: finish it with the command"):
        load_run(student_run, Choice())
    found.write(paths)
    paths.weights.unlink()
    with pytest.raises(UserError, match=r"holds no weights.safetensors: export where"):
        load_run(student_run, Choice())


def test_weights_of_another_model(student_run: Path, teacher_run: Path) -> None:
    shutil.copyfile(RunPaths(teacher_run).weights, RunPaths(student_run).weights)
    with pytest.raises(UserError, match=r"weights.safetensors does not fit its record"):
        load_run(student_run, Choice(statistics="running"))


def test_damaged_weights(student_run: Path) -> None:
    paths = RunPaths(student_run)
    paths.weights.write_bytes(paths.weights.read_bytes()[:-5])
    with pytest.raises(
        UserError,
        match=r"weights.safetensors cannot be read .* remove the run's folder and train it again",
    ):
        load_run(student_run, Choice())


def test_weights_that_have_changed(student_run: Path) -> None:
    paths = RunPaths(student_run)
    sums = {"weights.safetensors": hashlib.sha256(paths.weights.read_bytes()).hexdigest()}
    record("student", checksums=sums).write(paths)
    load_run(student_run, Choice())
    content = bytearray(paths.weights.read_bytes())
    content[-1] ^= 1
    paths.weights.write_bytes(content)
    with pytest.raises(UserError, match=r"has changed since the run was trained \(.*\): remove"):
        load_run(student_run, Choice())


def test_weights_that_are_not_kept(student_run: Path) -> None:
    paths = RunPaths(student_run)
    paths.best_val_weights.unlink()
    for images, why in (({"val": 9}, "export where it was trained"), ({}, "no validation images")):
        record("student", images=images).write(paths)
        with pytest.raises(UserError, match=rf"holds no best_val\.safetensors: .*{why}"):
            load_run(student_run, Choice("best_val"))


@pytest.mark.parametrize(
    "selections", [{}, {"precise": {"best_val": {"epoch": 1.0, "test/accuracy": 0.5}}}]
)
def test_a_sweep_of_records_without_accuracies(student_run: Path, selections: Any) -> None:
    kept = record("student").selections["precise"] | selections.get("precise", {})
    record("student", selections=selections and {"precise": kept}).write(RunPaths(student_run))
    with pytest.raises(UserError, match="no student with validation images"):
        load_run(student_run.parent, Choice("best_val"))


def test_unknown_words() -> None:
    with pytest.raises(UserError, match="--select = best_test is not allowed: give one of last"):
        Choice("best_test")
    with pytest.raises(UserError, match=r"--statistics = exact is not .* one of running, precise"):
        Choice(statistics="exact")


def test_weights_that_are_not_finite(student_run: Path) -> None:
    student = random_student(5)
    with torch.no_grad():
        student.classifier.weight[0, 0] = torch.nan
    save_weights(student, RunPaths(student_run).weights, {})
    with pytest.raises(
        UserError, match="holds numbers that are not finite: remove the run's folder"
    ):
        load_run(student_run, Choice(statistics="running"))


def test_batch_norm_is_the_records(student_run: Path) -> None:
    paths = RunPaths(student_run)
    found = read_record(paths)
    assert found is not None
    config = found.config | {"batch_norm": {"momentum": 0.25, "epsilon": 0.125}}
    dataclasses.replace(found, config=config).write(paths)
    norms = [block.norm for block in load_run(student_run).network.stages()]
    assert {(one.momentum, one.eps) for one in norms} == {(0.25, 0.125)}


def test_more_names_than_classes(student_run: Path) -> None:
    names = [f"kind {number}" for number in range(11)]
    record("student", classes=names).write(RunPaths(student_run))
    assert load_run(student_run).classes == list("0123456789")
