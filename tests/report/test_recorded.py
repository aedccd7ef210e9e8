"""A recorded sweep: 42 real runs, every number computed again from the files alone."""

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
from bitstill.report.sweeps import VIEWS, View

FOLDER = Path(__file__).parent / "recorded"
SEEDS = (0, 1, 2)
TEMPERATURES = (10, 15, 50, 100)
LOSSES = ("soft", "soft_hard", "gt_soft_hard")


@pytest.fixture(scope="module")
def report() -> SetReport:
    (found,) = build([FOLDER]).sets
    return found


@pytest.fixture(scope="module")
def records() -> dict[tuple[str, int], Any]:
    """Read the records without bitstill, by cell and seed."""
    found = {}
    for path in FOLDER.glob("*/run.json"):
        plain = json.loads(path.read_text())
        student = f"{plain['loss']} T={plain['temperature']:g}" if plain["temperature"] else ""
        name = "teacher" if plain["model"] == "teacher" else student
        found[name, plain["seed"]] = plain | {"folder": path.parent}
    return found


def percents(records: dict[tuple[str, int], Any], cell: str, view: View) -> NDArray[np.float64]:
    return np.array(
        [
            100
            * records[cell, seed]["selections"][view.statistics][view.selection]["test/accuracy"]
            for seed in SEEDS
        ]
    )


def claims(report: SetReport, view: View, letter: str) -> list[Finding]:
    return [one for one in report.findings(view) if one.question.claim == letter]


def holm(raw: list[float]) -> list[float]:
    order = np.argsort(raw)
    steps = np.maximum.accumulate(np.minimum(1, np.array(raw)[order] * np.arange(len(raw), 0, -1)))
    return [float(steps[np.flatnonzero(order == index)[0]]) for index in range(len(raw))]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_means_and_intervals(report: SetReport, records: Any, view: View) -> None:
    from bitstill.statistics import mean_interval

    assert len(records) == 42
    for cell in report.runs.cells:
        values = percents(records, cell, view)
        ours = mean_interval(list(report.runs.percents(cell, view).values()))
        low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
        assert list(ours) == pytest.approx([values.mean(), low, high])


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
        error = np.sqrt((left**2).sum() / 14 * 8 / 16 / 3)
        estimate = cells[:4].mean() - cells[4:].mean()
        reach = stats.t.ppf(0.975, 14) * error
        assert ours.effect is not None
        assert list(ours.effect) == pytest.approx([estimate, estimate - reach, estimate + reach])
        assert ours.p == pytest.approx(2 * stats.t.sf(abs(estimate) / error, 14))
        tost = max(
            stats.t.sf((estimate + 0.1) / error, 14), stats.t.cdf((estimate - 0.1) / error, 14)
        )
        assert ours.equivalence_p == pytest.approx(tost)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_claims_on_pairs(report: SetReport, records: Any, view: View) -> None:
    hard = percents(records, "hard T=15", view)
    raw = [
        stats.ttest_rel(percents(records, f"{loss} T=15", view), hard).pvalue
        for loss in ("soft", "soft_hard")
    ]
    assert [one.p for one in claims(report, view, "e")] == pytest.approx(holm(raw))
    (ours,) = claims(report, view, "f")
    theirs = stats.ttest_rel(percents(records, "teacher", view), hard)
    assert ours.p == pytest.approx(theirs.pvalue)


def test_mcnemar(report: SetReport, records: Any) -> None:
    view = View("running", "last")
    (ours,) = claims(report, view, "f")
    for seed, p in ours.question.comparisons[0].mcnemar.items():
        teacher, student = (
            np.unpackbits(np.load(records[cell, seed]["folder"] / "correctness.npz")[str(view)])
            for cell in ("teacher", "hard T=15")
        )
        gained, lost = int((teacher > student).sum()), int((teacher < student).sum())
        assert p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


def test_over_images(report: SetReport, records: Any) -> None:
    view = View("running", "last")
    (ours,) = claims(report, view, "f")
    difference = np.array(
        [
            np.unpackbits(
                np.load(records["teacher", seed]["folder"] / "correctness.npz")[str(view)]
            )
            * 1.0
            - np.unpackbits(
                np.load(records["hard T=15", seed]["folder"] / "correctness.npz")[str(view)]
            )
            for seed in SEEDS
        ]
    )
    rng = np.random.default_rng(0)
    seeds, images = difference.shape
    rows = rng.multinomial(seeds, [1 / seeds] * seeds, 20_000)
    columns = rng.multinomial(images, [1 / images] * images, 20_000)
    drawn = np.einsum("ni,ij,nj->n", rows, difference, columns, optimize=True) / difference.size
    reach = 100 * stats.t.ppf(0.975, 2) * np.sqrt(drawn.var() * 3 / 2)
    assert ours.question.images is not None
    assert ours.question.images.half_width == pytest.approx(reach, rel=0.03)
