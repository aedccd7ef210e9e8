"""Two sets of made-up runs, cell by cell."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from tests.report.conftest import changed_run, shifted

from bitstill.report.comparison import compare_sets, pairs, pairs_within
from bitstill.report.sets import run_sets
from bitstill.report.sweeps import Run, RunSet, View

CELLS = [("hard", 15.0), ("soft", 15.0)]


def changed(runs: RunSet, **change: Any) -> RunSet:
    """Return a set with other settings and the same accuracies."""
    [found] = run_sets(changed_run(run, **change) for run in runs.runs)
    return found


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({}, ""),
        ({"data": "e" * 64}, "data_identity"),
        ({"trainer": {"accelerator": "gpu", "precision": "bf16", "threads": 2}}, "both"),
        ({"teacher": {"seed": 7, "schedule": {"epochs": 8, "batch_size": 32}}}, "teacher.seed"),
        ({"soft_weight": {"_target_": "losses.constant_weight", "value": 1.0}}, ""),  # no c
    ],
)
def test_it_says_all_that_tells_two_sets_apart(
    make_set: Callable[..., RunSet], change: dict[str, Any], differing: str
) -> None:
    runs = make_set(shifted, seeds=range(2), cells=CELLS)
    caption = compare_sets(runs, changed(runs, **change)).table("c").caption
    said = differing.replace("both", "trainer.accelerator, trainer.precision")
    start = f"The sets differ in {said}. Test" if said else "Test"
    assert caption.startswith(f"{start} accuracy in %")
    assert ("images of each set" in caption) == ("data" in change)


def test_another_rule_for_c_is_said(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(shifted, seeds=range(2), cells=[("soft_hard", 10.0), ("soft_hard", 15.0)])
    other = changed(runs, soft_weight={"_target_": "losses.constant_weight", "value": 1.0})
    caption = compare_sets(runs, other).table("c").caption
    assert caption.startswith("The sets differ in soft_weight. ")


def test_only_seeds_in_both_are_compared(make_set: Callable[..., RunSet]) -> None:
    few, many = (make_set(shifted, seeds=range(n), cells=CELLS) for n in (3, 5))
    for row in compare_sets(few, changed(many)).table("c").rows:
        assert row[1] == row[2], "the same results"
        assert row[3:] == ["+0.00", "—", "—", "3"], "which show no noise"


def test_cells_of_the_same_runs_are_left_out(make_set: Callable[..., RunSet]) -> None:
    """As of a loss without c, which is in every set of a sweep over rules for c."""
    runs = make_set(shifted, seeds=range(3), cells=CELLS)
    other = make_set(shifted, seeds=range(3), cells=CELLS)
    mixed = RunSet("mixed", [*runs.of("hard T=15")[:2], *changed(other).of("soft T=15")], {})
    assert [one.cell for one in compare_sets(runs, mixed).cells] == ["soft T=15"]


def test_a_set_of_one_sweep_is_compared_with_the_earlier_one_most_like_it(
    make_set: Callable[..., RunSet],
) -> None:
    def of(bits: int, method: str = "plain") -> RunSet:
        runs = make_set(shifted, seeds=range(2), cells=CELLS)
        return changed(runs, quantizer={"method": method, "weight_bits": bits})

    sets = [of(2), of(1), of(8), of(1, "dorefa")]
    alone = make_set(shifted, seeds=range(2), cells=[("gt_soft_hard", 50.0)])
    first, second, third, fourth = sets
    assert pairs_within([alone, *sets]) == [(first, second), (first, third), (second, fourth)]
    assert pairs_within(sets[:1]) == []


def test_no_p_is_said_while_runs_are_awaited(make_set: Callable[..., RunSet]) -> None:
    def other(loss: str, temperature: float | None, seed: int) -> float:
        return shifted(loss, temperature, seed) + seed / 10

    first, second = (make_set(one, seeds=range(5), cells=CELLS) for one in (shifted, other))
    other_cell = dataclasses.replace(first, awaited={"soft T=50": 1})
    unaffected = compare_sets(other_cell, second).table("c")
    assert unaffected == compare_sets(first, second).table("c")
    awaited = {"soft T=15": 1}
    for sets in (
        (dataclasses.replace(first, awaited=awaited), second),
        (first, dataclasses.replace(second, awaited=awaited)),
    ):
        waiting = compare_sets(*sets).table("c")
        assert [row[:4] for row in waiting.rows] == [row[:4] for row in unaffected.rows]
        assert {tuple(row[4:6]) for row in waiting.rows} == {("—", "—")}
        assert "Both p wait for unfinished runs." in waiting.caption


def test_what_rests_on_other_accuracies_is_compared_after_the_last_epoch(
    make_set: Callable[..., RunSet],
) -> None:
    """In statistics that both have."""
    first, without_val = (
        make_set(shifted, seeds=range(2), cells=CELLS, val=val) for val in (True, False)
    )
    exact = [
        Run(run.paths, dataclasses.replace(run.record, selections={"precise": chosen}))
        for run in first.runs
        for chosen in [run.record.selections["precise"]]
    ]
    without_running = dataclasses.replace(first, runs=exact)
    for second, kind in ((without_val, "running"), (without_running, "precise")):
        for sets in ((first, second), (second, first)):
            assert compare_sets(*sets).view == View(kind, "last")


def test_a_tiny_p_is_not_nought(make_set: Callable[..., RunSet]) -> None:
    def better(loss: str, temperature: float | None, seed: int) -> float:
        return shifted(loss, temperature, seed) + 1 + seed / 1000

    first, second = (make_set(one, seeds=range(5), cells=CELLS) for one in (shifted, better))
    rows = compare_sets(first, second).table("c").rows
    assert [row[4:] for row in rows] == [["<0.001", "1.000", "5"]] * 2


def test_sets_that_differ_least_are_compared(make_set: Callable[..., RunSet]) -> None:
    """Whichever sweep comes first; a set without a cell of the other has no partner."""

    def of(data: str, method: str, cells: list[tuple[str, float]] = CELLS) -> RunSet:
        runs = make_set(shifted, seeds=range(2), cells=cells)
        return changed(runs, data=data, quantizer={"method": method, "weight_bits": 2})

    here, there, alone = of("e" * 64, "plain"), of("f" * 64, "plain"), of("e", "x", [("soft", 2.0)])
    others = [of(one * 64, "dorefa") for one in "fe"]
    assert pairs([here, there, alone], others) == [(there, others[0]), (here, others[1])]
    assert pairs(others, [here, there, alone]) == [(others[1], here), (others[0], there)]
    assert pairs([here], others) == [(here, one) for one in others]
    assert pairs(others, [here]) == [(one, here) for one in others]


def test_runs_that_did_not_learn_are_named_where_they_are_compared(
    make_set: Callable[..., RunSet],
) -> None:
    def failed(loss: str, temperature: float | None, seed: int) -> float:
        return 10.0 if (loss, seed) == ("soft", 4) else shifted(loss, temperature, seed)

    first = make_set(failed, seeds=range(5), cells=CELLS)
    for seeds, is_named in ((range(5), True), (range(4), False)):
        second = make_set(lambda *_: 90.0, seeds=seeds, cells=CELLS)
        caption = compare_sets(first, second).table("c").caption
        assert ("in all numbers: soft T=15 seed 4 (10.0 %);" in caption) == is_named
