"""Seed noise against arithmetic by hand."""

import itertools
from collections.abc import Callable
from statistics import variance

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
