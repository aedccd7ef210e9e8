"""What changed runs change against the study, in words."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from tests.report.conftest import changed_run, shifted

from bitstill.report.sets import run_sets
from bitstill.report.sweeps import Run, RunSet
from bitstill.report.variants import variants_table

SCHEDULE = {"epochs": 8, "batch_size": 32}


@pytest.fixture
def study(make_set: Callable[..., RunSet]) -> RunSet:
    return make_set(shifted, seeds=range(2), cells=[("soft", 15.0), ("soft_hard", 15.0)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": "e" * 64}, "data_identity = eeeeeeeeee"),
        ({"trainer": {"accelerator": "cpu", "precision": "bf16"}}, "trainer.precision = bf16"),
        ({"teacher": {"seed": 7, "schedule": SCHEDULE}}, "teacher.seed = 7"),
        (
            {"teacher": {"seed": 0, "schedule": {"epochs": 9, "batch_size": 32}}},
            "teacher.schedule.epochs = 9, teacher.seed = 0",
        ),
        (
            {"soft_weight": {"_target_": "losses.constant_weight", "value": 1}},
            "c constant, value 1",
        ),
        ({"quantizer": {"method": "dorefa", "weight_bits": 2}}, "quantizer.method = dorefa"),
    ],
)
def test_a_change_is_said(study: RunSet, change: dict[str, Any], words: str) -> None:
    [run] = [one for one in study.of("soft_hard T=15") if one.record.seed == 1]
    [row] = variants_table(study, run_sets([changed_run(run, **change)]), title="").rows
    assert row[:2] == [words, "soft_hard"]


def test_no_change_hides_another(study: RunSet) -> None:
    """Three arithmetics of one loss and seed are three rows."""
    run = study.of("soft T=15")[0]
    arithmetics = [("cpu", "bf16"), ("gpu", "float32"), ("gpu", "bf16")]
    runs = [
        changed_run(run, trainer={"accelerator": accelerator, "precision": precision})
        for accelerator, precision in arithmetics
    ]
    rows = variants_table(study, run_sets(runs), title="").rows
    assert [row[0] for row in rows] == [
        "trainer.accelerator = gpu",
        "trainer.accelerator = gpu, trainer.precision = bf16",
        "trainer.precision = bf16",
    ]


def test_a_teacher_for_all_seeds_in_both_is_no_change(make_set: Callable[..., RunSet]) -> None:
    made = make_set(shifted, seeds=range(2), cells=[("soft", 15.0)])
    runs = [changed_run(run, teacher={"seed": 0, "schedule": SCHEDULE}) for run in made.runs]
    dorefa = [changed_run(run, quantizer={"method": "dorefa", "weight_bits": 2}) for run in runs]
    [study] = run_sets(runs)
    [row] = variants_table(study, run_sets(dorefa), title="").rows
    assert [row[0], row[-1]] == ["quantizer.method = dorefa", "2"]


def test_what_was_not_measured_as_the_study_is_no_row(study: RunSet) -> None:
    run = study.of("soft T=15")[0]
    other = changed_run(run, data="e" * 64)
    precise = {"precise": run.record.selections["precise"]}
    record = dataclasses.replace(other.record, selections=precise)
    assert variants_table(study, run_sets([other]), title="").rows
    assert not variants_table(study, run_sets([Run(run.paths, record)]), title="").rows
