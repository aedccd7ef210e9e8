"""Which runs may stand in the same tables."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bitstill.errors import UserError
from bitstill.report.content import _named_by_folder
from bitstill.report.sets import run_sets
from bitstill.report.sweeps import Run, RunSet, sweep_name
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
        teacher_identity="t" if loss in ("soft", "soft_hard") and not teacher else None,
        selections=selections,
        sizes={"checkpoint": 3_526_410, "float32": 1_173_672},
    )


def run_sets_of(records: Iterable[RunRecord]) -> list[RunSet]:
    return run_sets([Run(RunPaths(Path("run")), record) for record in records])


def sets(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    return [[run.record for run in group.runs] for group in run_sets_of(records)]


def names(records: Iterable[RunRecord]) -> list[str]:
    return [group.name for group in run_sets_of(records)]


def taught(seed: int, teacher_seed: int, loss: str = "soft") -> RunRecord:
    return record(loss, seed=seed, teacher={"seed": teacher_seed, "schedule": {"epochs": 60}})


def cells(group: list[RunRecord]) -> list[str]:
    return sorted(found.cell for found in group)


@pytest.mark.parametrize("temperature", [None, 15.0])
def test_a_seed_that_a_cell_has_twice_is_refused(temperature: float | None) -> None:
    """Its results are of two versions of the code; which of them counts is not for a table."""
    first = record("hard", temperature)
    other = dataclasses.replace(first, identity="of another result version")
    runs = [Run(RunPaths(Path("mine") / name), one) for name, one in (("a", first), ("b", other))]
    cell = "teacher" if temperature is None else "hard T=15"
    with pytest.raises(UserError) as caught:
        run_sets(runs)
    assert str(caught.value) == (
        f"mine holds two finished runs of {cell} seed 0 with the same settings, a and b: move that "
        "of the older bitstill away"
    )
    failed = Run(runs[1].paths, dataclasses.replace(other, status="failed"))
    copied = Run(runs[1].paths, first)
    for harmless in (failed, copied):
        [found] = run_sets([runs[0], harmless])
        assert found.done(cell)[0].record.status == "done"


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


def test_a_teachers_schedule_is_nothing_to_a_loss_without_a_teacher() -> None:
    """Which is trained once for both, with either in its configuration."""
    taught: list[dict[str, Any]] = [
        {"teacher": {"seed": 0, "schedule": {"epochs": epochs}}} for epochs in (8, 9)
    ]
    teachers = [record("hard", None, schedule={"epochs": epochs}) for epochs in (8, 9)]
    alone = [record("hard", **taught[1]), record("gt_soft_hard", **taught[1])]
    groups = sets([*teachers, *(record("soft", **one) for one in taught), *alone])
    assert [len(group) for group in groups] == [4, 4]
    for group, teacher in zip(groups, teachers, strict=True):
        assert group[0] == teacher
        assert all(one in group for one in alone)


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


def test_a_loss_of_ones_own_with_a_factor_has_such_rules() -> None:
    """Its record says so: a report needs no package of its."""

    def ours(**weight: Any) -> RunRecord:
        one = record("mine", **weight)
        reads = {"_target_": "package.mine", "_reads": ["labels", "soft_weight"]}
        return dataclasses.replace(one, config=one.config | {"loss": reads})

    other = ours(weight={**HARD_WEIGHT, "value": 1.0})
    found = [one.settings["soft_weight"] for one in run_sets_of([ours(), other])]
    assert found == ["constant, value T^2", "constant, value 1"]


def test_settings_of_a_loss_of_ones_own_are_kept_apart() -> None:
    """Of one seed; what other losses say belongs to each, their own settings, too."""

    def ours(loss: str, alpha: float) -> RunRecord:
        one = record(loss)
        return dataclasses.replace(one, config=one.config | {"loss": {"alpha": alpha}})

    found = run_sets_of([ours("mine", 0.1), ours("mine", 0.5), ours("other", 2), record("hard")])
    assert [one.settings["mine.alpha"] for one in found] == ["0.1", "0.5"]
    assert [one.name for one in found] == [
        "made-up (mine.alpha=0.1)",
        "made-up (mine.alpha=0.5)",
    ]
    assert [one.cells for one in found] == [["hard T=15", "mine T=15", "other T=15"]] * 2


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


def test_teachers_alone_are_a_set_for_each_schedule() -> None:
    """model=teacher schedule.batch_size=64,256: what a teacher does not read tells none apart."""
    found = [
        record("hard", None, seed=seed, schedule={"batch_size": size}, quantizer={"bits": seed})
        for size in (64, 256)
        for seed in (0, 1)
    ]
    assert sets(found) == [found[:2], found[2:]]
    assert [[run.record for run in one.done("teacher")] for one in run_sets_of(found)] == sets(
        found
    )
    assert names(found) == [
        "made-up (schedule.batch_size=64)",
        "made-up (schedule.batch_size=256)",
    ]


def test_a_teacher_that_no_student_names_is_a_set() -> None:
    student, own = record("soft"), record("hard", None)
    other = record("hard", None, schedule={"epochs": 10})
    assert sets([other, own, student]) == [[own, student], [other]]
    assert names([other, own, student]) == [
        "made-up (schedule.epochs=60, model=student)",
        "made-up (schedule.epochs=10, model=teacher)",
    ]


def test_students_of_one_seed_and_several_teachers_are_kept_apart() -> None:
    """seed=0 teacher.seed=0,1,2: none of three runs of a cell and seed is lost."""
    students = [taught(0, teacher) for teacher in (0, 1, 2)]
    teachers = [record("hard", None, seed=seed) for seed in (0, 1, 2)]
    groups = run_sets_of([*teachers, record("hard"), *students])
    done = [[run.record for run in group.done("soft T=15")] for group in groups]
    assert done == [[student] for student in students]
    assert all(set(group.cells) == {"teacher", "hard T=15", "soft T=15"} for group in groups)
    assert [group.name for group in groups] == [
        "made-up (teacher.seed=seed)",
        "made-up (teacher.seed=1)",
        "made-up (teacher.seed=2)",
    ]


@pytest.mark.parametrize("of", [lambda seed: seed, lambda seed: seed + 1, lambda seed: 0])
def test_a_teacher_a_seed_or_one_for_all_is_one_set(of: Callable[[int], int]) -> None:
    found = [taught(seed, of(seed), loss) for loss in ("soft", "soft_hard") for seed in range(3)]
    assert sets(found) == [found]


def test_a_grid_of_seeds_and_teachers_is_a_set_for_each_teacher_and_the_seeds_own() -> None:
    found = [taught(seed, teacher) for seed in (0, 1) for teacher in (0, 1, 2)]
    read = [[(one.seed, one.config["teacher"]["seed"]) for one in group] for group in sets(found)]
    assert sorted(read) == [
        [(0, 0), (1, 0)],
        [(0, 0), (1, 1)],
        [(0, 1), (1, 1)],
        [(0, 2), (1, 2)],
    ]


def test_a_teacher_s_seed_is_nothing_to_a_loss_without_a_teacher() -> None:
    found = [taught(seed, teacher, "hard") for seed, teacher in ((0, 0), (1, 7), (2, 5))]
    assert sets(found) == [found]


@pytest.mark.parametrize(
    ("value", "temperatures"), [(100.0, (10.0, 15.0, 50.0)), (1.0, (1.0, 10.0, 15.0))]
)
def test_a_constant_that_is_t_squared_once_stays_in_its_sweep(
    value: float, temperatures: tuple[float, ...]
) -> None:
    weight = {**HARD_WEIGHT, "value": value}
    constant = [record("soft_hard", t, weight=weight) for t in temperatures]
    assert sets(constant) == [constant]
    assert run_sets_of(constant)[0].settings["soft_weight"] == f"constant, value {value:g}"


def test_a_run_that_two_rules_explain_is_in_both_sets() -> None:
    squared = [record("soft_hard", t) for t in (10.0, 15.0, 50.0)]
    weight = {**HARD_WEIGHT, "value": 100.0}
    constant = [record("soft_hard", t, weight=weight) for t in (15.0, 50.0)]
    assert sets([*squared, *constant]) == [squared, [squared[0], *constant]]
    assert names([*squared, *constant]) == [
        "made-up (soft_weight=constant, value T^2)",
        "made-up (soft_weight=constant, value 100)",
    ]


def test_one_set_has_the_sweep_s_name() -> None:
    assert names([record("hard", None), record("hard"), record("soft_hard")]) == ["made-up"]


def test_a_name_says_what_tells_a_set_from_most_others() -> None:
    short: dict[str, Any] = {"schedule": {"epochs": 10}}
    short["teacher"] = {"seed": 0, **short}
    dorefa: dict[str, Any] = {"quantizer": {"method": "dorefa", "weight_bits": None}}
    found = [record("soft"), record("soft", **short), record("soft", **dorefa)]
    assert names(found) == [
        "made-up (quantizer.method=mean_scaled, quantizer.weight_bits=2, schedule.epochs=60)",
        "made-up (schedule.epochs=10)",
        "made-up (quantizer.method=dorefa, quantizer.weight_bits=null)",
    ]


def test_sets_that_nothing_tells_apart_are_numbered() -> None:
    found = [record("soft"), record("soft", evaluation={"batch_norm": "both", "new": 1})]
    assert names(found) == ["made-up (1 of 2)", "made-up (2 of 2)"]


@pytest.mark.parametrize("what", ["data", "arithmetic", "evaluation"])
def test_a_teacher_of_another_kind_is_another_set(what: str) -> None:
    other = {
        "data": dataclasses.replace(record("hard", None), data_identity="other"),
        "arithmetic": record("hard", None, trainer={"accelerator": "gpu"}),
        "evaluation": record("hard", None, evaluation={"batch_norm": "running"}),
    }
    assert len(sets([other[what], record("soft")])) == 2


def test_teachers_are_found_by_a_student_that_reads_one() -> None:
    short: dict[str, Any] = {"teacher": {"seed": 0, "schedule": {"epochs": 10}}}
    teacher = record("hard", None, schedule={"epochs": 10})
    [group] = sets([teacher, record("hard"), record("soft", **short)])
    assert group[0] == teacher


def test_without_a_majority_all_is_told() -> None:
    found = [
        record("soft", schedule={"epochs": epochs}, quantizer={"weight_bits": bits})
        for epochs in (60, 10)
        for bits in (2, 1)
    ]
    assert names(found) == [
        f"made-up (quantizer.weight_bits={bits}, schedule.epochs={epochs})"
        for epochs in (60, 10)
        for bits in (2, 1)
    ]


def test_settings_of_equal_values_are_told_apart() -> None:
    """But a teacher's schedule that is its student's is not told twice."""
    bits = [{"weight_bits": number, "activation_bits": number} for number in (2, 1)]
    assert names(record("hard", quantizer=one) for one in bits) == [
        f"made-up (quantizer.weight_bits={number}, quantizer.activation_bits={number})"
        for number in (2, 1)
    ]
    epochs: list[dict[str, Any]] = [{"epochs": number} for number in (60, 10)]
    assert names(
        record("soft", schedule=one, teacher={"seed": 0, "schedule": one}) for one in epochs
    ) == ["made-up (schedule.epochs=60)", "made-up (schedule.epochs=10)"]


def test_sets_of_one_name_are_called_by_their_folders() -> None:
    """Whatever a sweep's name looks like."""
    records = [record("hard", name="my (x) sweep", schedule={"epochs": n}) for n in (8, 9)]
    runs = [Run(RunPaths(Path("here/mine/run")), one) for one in records]
    names = [_named_by_folder(found, sweep_name(runs)).name for found in run_sets(runs)]
    assert names == ["here/mine (schedule.epochs=8)", "here/mine (schedule.epochs=9)"]
