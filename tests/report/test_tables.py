"""Tables 1 to 4, the published numbers beside ours."""

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from bitstill.report.tables import CAPTION, sets, tables
from bitstill.runs import Row, RunRecord

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


def rows(table: Table) -> list[list[str]]:
    """Return a table's cells as text."""
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def printed(table: Table) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert isinstance(text, str)
    return text


PUBLISHED = {
    "soft": ("Table 2", [("10", "90.0"), ("15", "90.4"), ("50", "88.1"), ("100", "89.9")]),
    "soft_hard": ("Table 3", [("10", "90.0"), ("15", "91.0"), ("50", "90.1"), ("100", "90.3")]),
    "gt_soft_hard": ("Table 4", [("10", "90.2"), ("15", "91.4"), ("50", "90.0"), ("100", "90.6")]),
}


@pytest.mark.parametrize("loss", PUBLISHED)
def test_the_published_numbers_to_the_letter(loss: str) -> None:
    title, published = PUBLISHED[loss]
    [table] = tables([record(loss, 50.0)])
    assert str(table.title).startswith(f"{title}: ")
    assert f"({loss})" in str(table.title)
    assert [(row[0], row[1]) for row in rows(table)] == published


def test_table_1_to_the_letter() -> None:
    [table] = tables([record("hard"), record("hard", None)])
    assert [row[:2] for row in rows(table)] == [["teacher", "94.3"], ["q1, T=15", "90.0"]]
    text = " ".join(printed(table).split())
    assert "teacher's checkpoint 3.43M | 3.53 MB" in text
    assert "student 1.13M | 1.17 MB" in text


def test_cells_are_means_over_the_runs() -> None:
    names = ("running/best_test", "running/best_val", "running/last", "precise/last")
    measured = [(0.912, 0.901, 0.85, 0.9), (0.915, 0.907, 0.85, 0.91), (0.906, 0.901, 0.88, 0.92)]
    found = [
        record("soft", 50.0, seed=seed, accuracies=dict(zip(names, one, strict=True)))
        for seed, one in enumerate(measured)
    ]
    [table] = tables(found)
    # (91.2 + 91.5 + 90.6) / 3 = 91.1; (90.1 + 90.7 + 90.1) / 3 = 90.3; (85 + 85 + 88) / 3 = 86.0
    assert rows(table)[2] == ["50", "88.1", "91.1", "90.3", "86.0", "91.0", "3"]


def test_what_is_missing_is_said() -> None:
    [table] = tables([record("soft", 50.0)])
    cells = rows(table)
    assert [row[2:] for row in cells if row[0] != "50"] == [["missing"] * 4 + ["0"]] * 3
    assert "missing" not in cells[2]


def test_table_1_without_a_teacher_or_a_student() -> None:
    [table] = tables([record("hard")])
    assert rows(table)[0][2:] == ["missing"] * 4 + ["0"]
    assert "3.43M | missing" in " ".join(printed(table).split())
    [table] = tables([record("hard", None)])
    assert rows(table)[1][2:] == ["missing"] * 4 + ["0"]
    assert "1.13M | missing" in " ".join(printed(table).split())


def test_hard_at_another_temperature_is_not_the_published_cell() -> None:
    assert tables([record("hard", 1.0)]) == []


def test_a_run_without_validation_has_no_best_val() -> None:
    found = record("soft", 50.0)
    selections = {**found.selections, "running": {**found.selections["running"], "best_val": None}}
    [table] = tables([dataclasses.replace(found, selections=selections)])
    assert rows(table)[2] == ["50", "88.1", "90.0", "none", "70.0", "60.0", "1"]


def test_a_run_without_exact_statistics_has_none() -> None:
    found = record("soft", 50.0)
    selections = {"running": found.selections["running"]}
    [table] = tables([dataclasses.replace(found, selections=selections)])
    assert rows(table)[2] == ["50", "88.1", "90.0", "80.0", "70.0", "none", "1"]


def test_the_caption_says_that_the_test_set_chose_the_epoch() -> None:
    assert "best on the test set" in CAPTION


def cells(group: list[RunRecord]) -> list[str]:
    return sorted(found.cell for found in group)


def test_a_plain_sweep_is_one_set() -> None:
    found = [
        record("hard", None),
        record("hard"),
        *(record(loss, t) for loss in PUBLISHED for t in (10.0, 15.0, 50.0, 100.0)),
    ]
    [group] = sets(found)
    assert cells(group) == cells(found)
    assert len(tables(group)) == 4


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


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_unfinished_runs_are_in_no_set(status: Any) -> None:
    assert sets([dataclasses.replace(record("soft"), status=status)]) == []
