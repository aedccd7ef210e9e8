"""Which runs may stand in the same tables."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bitstill.report.sweeps import Run, run_sets
from bitstill.runs import Row, RunPaths, RunRecord

LOSSES = ("soft", "soft_hard", "gt_soft_hard")
HARD_WEIGHT = {"_target_": "bitstill.losses.constant_weight", "_partial_": True}


def record(
    loss: str,
    temperature: float | None = 15.0,
    *,
    seed: int = 0,
    accuracies: dict[str, float] | None = None,
    weight: dict[str, Any] | None = None,
    **config: Any,
) -> RunRecord:
    """A finished run; accuracies by "kind/selection"."""
    teacher = temperature is None
    named = {"running/best_test": 0.9, "running/best_val": 0.8, "running/last": 0.7}
    named |= {"precise/last": 0.6} | (accuracies or {})
    selections: dict[str, dict[str, Row | None]] = {"running": {}, "precise": {}}
    for key, accuracy in named.items():
        kind, _, selection = key.partition("/")
        selections[kind][selection] = {"epoch": 1, "test/accuracy": accuracy}
    squared = {**HARD_WEIGHT, "value": (temperature or 15.0) ** 2}
    return RunRecord(
        status="done",
        identity=f"{loss}-{temperature}-{seed}-{weight}-{config}",
        model="teacher" if teacher else "student",
        loss=loss,
        temperature=temperature,
        seed=seed,
        epoch=60,
        epochs=60,
        config={
            "name": "made-up",
            "seed": seed,
            "model": {"_target_": "bitstill.models." + ("Teacher" if teacher else "Student")},
            "loss": {"_target_": f"bitstill.losses.{loss}"},
            "temperature": {"value": temperature or 15.0},
            "soft_weight": weight or squared,
            "quantizer": {"method": "mean_scaled", "weight_bits": 2},
            "schedule": {"epochs": 60},
            "teacher": {"seed": seed, "schedule": {"epochs": 60}},
            "data": {"source": "svhn"},
            "batch_norm": {"momentum": 0.01},
            "evaluation": {"batch_norm": "both"},
            "trainer": {"accelerator": "cpu"},
            **config,
        },
        data_identity="d",
        teacher_identity=None,
        selections=selections,
        sizes={"checkpoint": 3_526_410, "weights_float32": 1_173_672},
    )


def sets(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    groups = run_sets([Run(RunPaths(Path("run")), record) for record in records])
    return [[run.record for run in group.runs] for group in groups]


def cells(group: list[RunRecord]) -> list[str]:
    return sorted(found.cell for found in group)


def test_a_plain_sweep_is_one_set() -> None:
    found = [
        record("hard", None),
        record("hard"),
        *(record(loss, t) for loss in LOSSES for t in (10.0, 15.0, 50.0, 100.0)),
    ]
    [group] = sets(found)
    assert cells(group) == cells(found)


def test_seeds_are_in_one_set() -> None:
    [group] = sets([record("soft", seed=seed) for seed in range(3)])
    assert len(group) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"quantizer": {"method": "dorefa", "weight_bits": 2}},
        {"quantizer": {"method": "mean_scaled", "weight_bits": 1}},
        {"schedule": {"epochs": 10}},
        {"data": {"source": "digits"}},
        {"batch_norm": {"momentum": 0.1}},
    ],
)
def test_runs_that_differ_otherwise_are_not_averaged(change: dict[str, Any]) -> None:
    groups = sets([record("soft"), record("soft", **change)])
    assert [len(group) for group in groups] == [1, 1]


def test_students_of_another_teachers_schedule_are_not_averaged() -> None:
    taught: dict[str, Any] = {"teacher": {"seed": 0, "schedule": {"epochs": 10}}}
    groups = sets([record("soft"), record("soft", **taught)])
    assert [len(group) for group in groups] == [1, 1]


def test_other_data_is_another_set() -> None:
    found = [record("soft"), dataclasses.replace(record("soft"), data_identity="other")]
    assert [len(group) for group in sets(found)] == [1, 1]


def test_rules_for_the_factor_c_are_kept_apart() -> None:
    temperatures = (10.0, 15.0)
    squared = [record("soft_hard", t) for t in temperatures]
    constant = [record("soft_hard", t, weight={**HARD_WEIGHT, "value": 1.0}) for t in temperatures]
    falling = [
        record(
            "soft_hard",
            t,
            weight={
                "_target_": "bitstill.losses.linear_weight",
                "_partial_": True,
                "initial": t**2,
                "final": 0.0,
            },
        )
        for t in temperatures
    ]
    shared = [record("hard", None), record("hard"), record("soft", 10.0)]
    groups = sets([*shared, *squared, *constant, *falling])
    assert len(groups) == 3
    for group, own in zip(groups, (squared, constant, falling), strict=True):
        # A teacher, and the losses without c, belong to every set.
        assert all(one in group for one in (*shared, *own))
        assert len(group) == len(shared) + len(own)


def test_t_squared_is_one_rule_at_t_1_too() -> None:
    groups = sets([record("soft_hard", t) for t in (1.0, 2.0, 15.0)])
    assert [len(group) for group in groups] == [3]


def test_what_c_falls_to_is_part_of_its_rule() -> None:
    def weight(final: float) -> dict[str, Any]:
        return {"_target_": "bitstill.losses.linear_weight", "initial": 225.0, "final": final}

    groups = sets(
        [record("soft_hard", weight=weight(0.0)), record("soft_hard", weight=weight(200.0))]
    )
    assert [len(group) for group in groups] == [1, 1]


def test_a_constant_factor_of_any_size_is_one_rule() -> None:
    """c = 2 at T = 10 and at T = 15 is one sweep: soft_weight=constant soft_weight.value=2."""
    weight = {**HARD_WEIGHT, "value": 2.0}
    groups = sets([record("soft_hard", t, weight=weight) for t in (10.0, 15.0)])
    assert [len(group) for group in groups] == [2]


def test_a_teacher_belongs_to_every_set_of_its_data_and_schedule() -> None:
    teacher = record("hard", None)
    dorefa: dict[str, Any] = {"quantizer": {"method": "dorefa", "weight_bits": 2}}
    groups = sets([teacher, record("soft"), record("soft", **dorefa), record("soft", batch_norm=1)])
    assert [teacher in group for group in groups] == [True, True, False]


def test_a_teacher_alone_is_a_set() -> None:
    teacher = record("hard", None)
    assert sets([teacher]) == [[teacher]]
