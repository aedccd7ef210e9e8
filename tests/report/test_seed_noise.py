"""Seed noise and cost against arithmetic by hand."""

import itertools
from collections.abc import Callable
from statistics import variance

import pytest

from bitstill.report.cost import cost_table, official_table
from bitstill.report.seed_noise import seed_noise_table
from bitstill.report.sweeps import RunSet, View
from bitstill.statistics import seeds_needed

CELLS = [("teacher", None), ("hard", 15.0), ("soft", 10.0), ("soft", 15.0), ("soft", 50.0)]
MADE = {10.0: (90.0, 91.0, 92.6), 15.0: (90.4, 91.2, 91.8), 50.0: (88.0, 89.0, 89.4)}
VIEW = View("running", "best_val")


def percent(loss: str, temperature: float | None, seed: int) -> float:
    return MADE[temperature or 15.0][seed]


def test_noise_is_pooled_over_cells_and_over_pairs(make_set: Callable[..., RunSet]) -> None:
    table = seed_noise_table(make_set(percent, seeds=range(3), cells=CELLS), VIEW)
    [soft, exact] = [row for row in table.rows if row[0] == "soft"]
    alone = (sum(variance(values) for values in MADE.values()) / 3) ** 0.5
    pairs = [
        variance([a - b for a, b in zip(*two, strict=True)])
        for two in itertools.combinations(MADE.values(), 2)
    ]
    difference = (sum(pairs) / 3) ** 0.5
    needed = seeds_needed(0.5, difference, alpha=0.05, power=0.8)
    numbers = ["9", f"{alone:.2f}", f"{difference:.2f}", str(needed)]
    assert soft == ["soft", "running", *numbers]
    assert exact == ["soft", "exact", *numbers]


def test_a_cell_alone_has_no_pairs(make_set: Callable[..., RunSet]) -> None:
    table = seed_noise_table(make_set(percent, seeds=range(3), cells=CELLS), VIEW)
    assert table.rows[0][4:] == ["too few runs", "—"]


def test_seeds_that_all_shift_alike_show_no_noise(make_set: Callable[..., RunSet]) -> None:
    table = seed_noise_table(make_set(lambda *of: 90.0 + of[2], seeds=range(3), cells=CELLS), VIEW)
    assert table.rows[-1][2:] == ["9", "1.00", "none seen", "—"]


def test_one_seed_has_no_noise(make_set: Callable[..., RunSet]) -> None:
    table = seed_noise_table(make_set(percent, seeds=[0], cells=CELLS), VIEW)
    assert {tuple(row[3:]) for row in table.rows} == {("too few runs", "too few runs", "—")}


def test_cost_adds_up(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(percent, seeds=range(3), cells=CELLS, images_per_second=500.0)
    seconds = 3.0 * 15
    assert cost_table(runs).rows[-1][:3] == ["all", "15", f"{seconds / 3600:.1f}"]
    teacher, student, whole = official_table(runs).rows
    hours = 73_257 * 8 / 500 / 3600  # the made-up runs have 8 epochs and name no validation share
    assert teacher == ["teacher", "5", f"{hours:.1f}", f"{5 * hours:.0f}"]
    assert student == ["student", "70", f"{hours:.1f}", f"{70 * hours:.0f}"]
    assert whole[-1] == f"{75 * hours:.0f}"


def test_nothing_finished_has_cost_nothing(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(percent, seeds=[0], cells=CELLS, status="running")
    assert cost_table(runs).rows == []


def test_cost_of_the_official_split_waits_for_a_student(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(percent, seeds=[0], cells=CELLS[:1], images_per_second=500.0)
    assert [row[-1] for row in official_table(runs).rows] == [
        f"{5 * 73_257 * 8 / 500 / 3600:.0f}",
        *["no finished run yet"] * 2,
    ]


@pytest.mark.parametrize(
    ("deviation", "n"),
    # G*Power's and every textbook's: d_z = 0.5 takes 34 pairs, 1 takes 10, 0.8 takes 15.
    [(1.0, 34), (0.5, 10), (0.625, 15), (0.02, 2)],
)
def test_seeds_needed(deviation: float, n: int) -> None:
    assert seeds_needed(0.5, deviation, alpha=0.05, power=0.8) == n
