"""The table of temperature and loss, and what a loss of one's own adds."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from tests.report.conftest import changed_run, write_run

from bitstill.report.figures.accuracy import accuracy_figures
from bitstill.report.figures.curves import curve_figures
from bitstill.report.seed_noise import seed_noise_table
from bitstill.report.sets import run_sets
from bitstill.report.sweeps import VIEWS, RunSet, View, read_sweep
from bitstill.report.tables import accuracy_tables, temperature_table
from bitstill.report.variants import variants_table


def test_a_row_a_temperature_and_a_column_a_loss(make_set: Callable[..., RunSet]) -> None:
    def percent(loss: str, temperature: float | None, seed: int) -> float:
        return 90.0 if loss == "hard" else 80 + (temperature or 0) / 10

    cells = (("teacher", None), ("hard", 15.0), ("soft", 10.0), ("soft", 15.0))
    runs = make_set(percent, seeds=[0], cells=cells)
    table = temperature_table(runs, View("running", "best_val"))
    assert tuple(table.header) == ("T", "hard", "soft")
    assert [list(row) for row in table.rows] == [["10", "—", "81.0"], ["15", "90.0", "81.5"]]
    assert table.caption.startswith("Test accuracy in %: best val, running batch norm statistics")


def test_one_teacher_for_all_seeds_is_all_of_them(tmp_path: Path) -> None:
    """Named with ``teacher.seed=100``."""
    write_run(tmp_path, "teacher", None, 100, 95.0)
    for seed in range(3):
        paths = write_run(tmp_path, "soft", 15.0, seed, 88.0)
        plain = json.loads(paths.record.read_text())
        plain["config"]["teacher"]["seed"] = 100
        paths.record.write_text(json.dumps(plain))
    [runs] = run_sets(read_sweep(tmp_path))
    assert runs.seeds == [0, 1, 2]
    first, second = accuracy_tables(runs)
    assert first.rows[0][-1] == "1"
    assert {row[-1] for row in second.rows if row[0] == "15"} == {"3"}


def test_n_is_of_all_seeds_that_are_asked_for(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(lambda *_: 80.0, seeds=range(2), cells=(("hard", 15.0), ("soft", 15.0)))
    waiting = dataclasses.replace(runs, awaited={"hard T=15": 3, "soft T=10": 5})
    first, second = accuracy_tables(waiting)
    assert {row[-1] for row in first.rows} == {"2/5"}
    assert [(row[0], row[-1]) for row in second.rows[::2]] == [("10", "0/5"), ("15", "2")]


def test_a_loss_that_has_no_run_yet_is_missing(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(lambda *_: 80.0, seeds=range(2), cells=(("soft", 15.0),))
    awaited = {"teacher": 2, "soft_hard T=10": 2, "../x T=10": 1, "soft T=?": 1}
    runs = dataclasses.replace(runs, awaited=awaited)
    first, second, third = accuracy_tables(runs)
    assert [row[0] for row in first.rows] == ["teacher"] * 2
    assert [row[0] for row in second.rows] == ["15"] * 2
    assert third.name == "table3"
    expected = ["10", "90.0", "running", *["missing"] * 3, "—", "0/2"]
    assert list(third.rows[0]) == expected
    table = temperature_table(runs, View("running", "best_val"))
    assert tuple(table.header) == ("T", "soft", "soft_hard")
    assert [list(row) for row in table.rows] == [
        ["10", "—", "missing"],
        ["15", "80.0 ± 0.0", "—"],
    ]


def test_a_loss_of_ones_own_stands_behind_the_published_ones(
    make_set: Callable[..., RunSet],
) -> None:
    cells = (("a_new_loss", 15.0), ("hard", 15.0), ("gt_soft_hard", 15.0))
    runs = make_set(lambda *_: 80.0, seeds=range(2), cells=cells)
    assert runs.losses == ["hard", "gt_soft_hard", "a_new_loss"]
    assert runs.cells == ["hard T=15", "gt_soft_hard T=15", "a_new_loss T=15"]
    *_, table = accuracy_tables(runs)
    assert table.name == "table-a_new_loss"
    assert table.title == "a_new_loss: a loss that nothing was published on"
    assert [list(row[:5]) for row in table.rows] == [
        ["15", "—", "running", "80.4 ± 0.0", "80.0 ± 0.0"],
        ["15", "—", "exact", "80.4 ± 0.0", "80.0 ± 0.0"],
    ]
    assert [figure.name for figure in curve_figures(runs)] == [
        "curves-hard",
        "curves-gt_soft_hard",
        "curves-a_new_loss",
    ]
    [figure] = accuracy_figures(runs, VIEWS[1])
    colors = figure.spec["layer"][1]["encoding"]["color"]["scale"]["domain"]  # type: ignore[index]
    assert colors == ["hard", "soft", "soft_hard", "gt_soft_hard", "a_new_loss"]
    assert [row[0] for row in seed_noise_table(runs, VIEWS[1]).rows][-2:] == ["a_new_loss"] * 2
    quantizer = {"method": "dorefa", "weight_bits": 2}
    dorefa = [changed_run(run, quantizer=quantizer) for run in runs.runs]
    rows = variants_table(runs, run_sets(dorefa), title="").rows
    assert [row[1] for row in rows] == ["hard", "gt_soft_hard", "a_new_loss"]
