"""A recorded sweep of real runs: every number computed again from curves and bits alone."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bitstill.report.content import SetReport, build
from bitstill.report.findings import Finding
from bitstill.report.sweeps import HARD, VIEWS, View

FOLDER = Path(__file__).parent / "recorded"
SEEDS = (0, 1, 2, 3, 4)
N = len(SEEDS)
DF = 7 * (N - 1)  # of eight cells over the seeds
TEMPERATURES = (10, 15, 50, 100)
LOSSES = ("soft", "soft_hard", "gt_soft_hard")


@pytest.fixture(scope="module")
def report() -> SetReport:
    (found,) = build([FOLDER]).sets
    return found


@pytest.fixture(scope="module")
def records() -> dict[tuple[str, int], Any]:
    """Read curves and bits without bitstill, by cell and seed."""
    found = {}
    for path in FOLDER.glob("*/run.json"):
        plain = json.loads(path.read_text())
        student = f"{plain['loss']} T={plain['temperature']:g}" if plain["temperature"] else ""
        name = "teacher" if plain["model"] == "teacher" else student
        with (path.parent / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        curves = {column: np.array([float(row[column]) for row in rows]) for column in rows[0]}
        with np.load(path.parent / "correctness.npz") as packed:
            bits = {view: np.unpackbits(packed[view]) for view in packed.files}
        found[name, plain["seed"]] = {"curves": curves, "bits": bits}
    return found


def percents(records: dict[tuple[str, int], Any], cell: str, view: View) -> NDArray[np.float64]:
    """Choose each run's epoch from its curves, and return the test accuracies."""
    suffix = "_precise" if view.statistics == "precise" else ""
    found = []
    for seed in SEEDS:
        curves = records[cell, seed]["curves"]
        test, val = (curves[f"{split}/accuracy{suffix}"] for split in ("test", "val"))
        epoch = {"last": -1, "best_val": np.argmax(val), "best_test": np.argmax(test)}
        found.append(100 * test[epoch[view.selection]])
    return np.array(found)


def claims(report: SetReport, view: View, letter: str) -> list[Finding]:
    return [one for one in report.findings(view) if one.question.claim == letter]


def holm(raw: list[float]) -> list[float]:
    order = np.argsort(raw)
    steps = np.maximum.accumulate(np.minimum(1, np.array(raw)[order] * np.arange(len(raw), 0, -1)))
    return [float(steps[np.flatnonzero(order == index)[0]]) for index in range(len(raw))]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_means_and_intervals(report: SetReport, records: Any, view: View) -> None:
    from bitstill.statistics import mean_interval

    assert len(records) == 14 * N
    for cell in report.runs.cells:
        values = percents(records, cell, view)
        ours = mean_interval(list(report.runs.percents(cell, view).values()))
        low, high = stats.t.interval(0.95, N - 1, values.mean(), stats.sem(values))
        assert list(ours) == pytest.approx([values.mean(), low, high])
        bits = [records[cell, seed]["bits"][str(view)] for seed in SEEDS]
        assert [100 * one.mean() for one in bits] == pytest.approx(values.tolist())


@pytest.mark.parametrize(
    ("name", "cell", "label", "printed"),
    [("table1", "hard T=15", "hard T=15", "90.0"), ("table3", "soft_hard T=50", "50", "90.1")],
)
def test_a_row_of_a_table(
    report: SetReport, records: Any, name: str, cell: str, label: str, printed: str
) -> None:
    (table,) = [one for one in report.tables if one.name == name]
    (row, _) = [row for row in table.rows if row[0] == label]
    views = [View("running", selection) for selection in ("best_test", "best_val", "last")]
    test, val, last = (percents(records, cell, view) for view in views)
    means = [
        f"{one.mean():.1f} ± {stats.t.ppf(0.975, N - 1) * stats.sem(one):.1f}"
        for one in (test, val, last)
    ]
    optimism = f"{(test - val).mean():.1f}"
    assert list(row) == [label, printed, "running", *means, optimism, str(N)]


def test_a_row_of_the_epoch_noise(report: SetReport, records: Any) -> None:
    (table,) = [one for one in report.tables if one.name == "noise"]
    (row,) = [row for row in table.rows if row[0] == "soft T=50"]
    curves = 100 * np.array([records["soft T=50", s]["curves"]["test/accuracy"] for s in SEEDS])
    late = curves[:, -int(row[1]) :]
    assert late.shape[1] == max(2, int(np.ceil(curves.shape[1] / 4)))
    gain = (curves.max(axis=1) - late.mean(axis=1)).mean()
    swing, best = np.ptp(late, axis=1).mean(), curves.max(axis=1).std(ddof=1)
    numbers = [late.std(axis=1, ddof=1).mean(), swing, gain, best, 90.4 - 88.1]
    assert [float(text) for text in row[2:7]] == pytest.approx(numbers, abs=0.0501)
    assert len(row) == 7


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_claims_that_want_several_things(report: SetReport, records: Any, view: View) -> None:
    pairs = {"a": [(15, 10), (15, 50), (15, 100)], "b": [(15, 10), (15, 50), (100, 50)]}
    for letter, steps in pairs.items():
        tests = {
            loss: [
                stats.ttest_rel(
                    percents(records, f"{loss} T={high}", view),
                    percents(records, f"{loss} T={low}", view),
                    alternative="greater",
                )
                for high, low in steps
            ]
            for loss in LOSSES
        }
        p_for = holm([min(1, 2 * max(one.pvalue for one in tests[loss])) for loss in LOSSES])
        against = holm([min(1, 2 * (1 - one.pvalue)) for loss in LOSSES for one in tests[loss]])
        for index, ours in enumerate(claims(report, view, letter)):
            assert ours.effect is not None
            p_against = min(against[3 * index : 3 * index + 3])
            expected = p_for[index] if ours.effect.estimate > 0 else p_against
            assert ours.p == pytest.approx(expected)
            sign = (p_for[index] < 0.05) - (p_against < 0.05)
            assert ours.verdict == ("undecided", "reproduced", "contradicted")[sign]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_claims_on_losses(report: SetReport, records: Any, view: View) -> None:
    for letter, better, worse in (("c", "soft_hard", "soft"), ("d", "gt_soft_hard", "soft_hard")):
        (ours,) = claims(report, view, letter)
        cells = np.array(
            [
                percents(records, f"{loss} T={t}", view)
                for loss, t in itertools.product((better, worse), TEMPERATURES)
            ]
        )
        left = cells - cells.mean(0) - cells.mean(1, keepdims=True) + cells.mean()
        error = np.sqrt((left**2).sum() / DF * 8 / 16 / N)
        estimate = cells[:4].mean() - cells[4:].mean()
        reach = stats.t.ppf(0.975, DF) * error
        assert ours.effect is not None
        assert list(ours.effect) == pytest.approx([estimate, estimate - reach, estimate + reach])
        assert ours.p == pytest.approx(2 * stats.t.sf(abs(estimate) / error, DF))
        tost = max(
            stats.t.sf((estimate + 0.1) / error, DF), stats.t.cdf((estimate - 0.1) / error, DF)
        )
        assert ours.equivalence_p == pytest.approx(tost)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_claims_on_pairs(report: SetReport, records: Any, view: View) -> None:
    hard = percents(records, "hard T=15", view)
    cells = [percents(records, f"{loss} T=15", view) for loss in ("soft", "soft_hard")]
    above, below = (
        holm([min(1, 2 * stats.ttest_rel(one, hard, alternative=way).pvalue) for one in cells])
        for way in ("greater", "less")
    )
    expected = [
        above[index] if cells[index].mean() > hard.mean() else below[index] for index in (0, 1)
    ]
    assert [one.p for one in claims(report, view, "e")] == pytest.approx(expected)
    (ours,) = claims(report, view, "f")
    theirs = stats.ttest_rel(percents(records, "teacher", view), hard)
    assert ours.p == pytest.approx(theirs.pvalue)


def test_size_is_counted_from_the_packed_file(report: SetReport) -> None:
    (ours,) = claims(report, report.view, "g")
    plain = [json.loads(path.read_text()) for path in FOLDER.glob("*/run.json")]
    deployed = {one["sizes"]["deployed"] for one in plain if one["model"] == "student"}
    float32 = {one["sizes"]["float32"] for one in plain if one["model"] == "teacher"}
    assert float32 == {4 * 293_418}
    assert ours.effect is not None
    assert ours.effect.estimate == pytest.approx(4 * 293_418 / deployed.pop(), rel=0.01)


def test_mcnemar(report: SetReport, records: Any) -> None:
    view = View("running", "last")
    (ours,) = claims(report, view, "f")
    assert len(ours.question.comparisons[0].mcnemar) == N
    for seed, p in ours.question.comparisons[0].mcnemar.items():
        teacher, student = (records[cell, seed]["bits"][str(view)] for cell in ("teacher", HARD))
        gained, lost = int((teacher > student).sum()), int((teacher < student).sum())
        assert p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


def test_over_images(report: SetReport, records: Any) -> None:
    view = View("running", "last")
    (ours,) = claims(report, view, "f")
    teacher, student = (
        np.array([records[cell, seed]["bits"][str(view)] for seed in SEEDS], dtype=float)
        for cell in ("teacher", HARD)
    )
    difference = teacher - student
    images = difference.shape[1]
    noise = difference - difference.mean(0) - difference.mean(1, keepdims=True) + difference.mean()
    squares = np.array(
        [
            images * difference.mean(1).var(ddof=1),
            N * difference.mean(0).var(ddof=1),
            (noise**2).sum() / (N - 1) / (images - 1),
        ]
    )
    total = squares @ [1, 1, -1]
    free = total**2 / (squares**2 / [N - 1, images - 1, (N - 1) * (images - 1)]).sum()
    reach = 100 * stats.t.ppf(0.975, free) * np.sqrt(total / difference.size)
    seeds_alone = 100 * stats.t.ppf(0.975, N - 1) * np.sqrt(squares[0] / difference.size)
    assert reach > seeds_alone
    assert ours.question.images is not None
    assert ours.question.images.half_width == pytest.approx(reach)
