"""Claims against plain scipy, and how often they err."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tests.report.conftest import replaced, write_sweep

from bitstill.report.claims import findings, primary_view
from bitstill.report.findings import Finding
from bitstill.report.sets import run_sets
from bitstill.report.sweeps import Run, RunSet, View, read_sweep

LAST = View("running", "last")
SIZES = {
    "teacher": {"deployed": 1_169_960},
    "student": {"deployed": 79_700},
}


def published(loss: str, temperature: float | None, seed: int) -> float:
    """As published, with a little noise of every seed and every run."""
    table = {
        "soft": (90.0, 90.4, 88.1, 89.9),
        "soft_hard": (90.0, 91.0, 90.1, 90.3),
        "gt_soft_hard": (90.2, 91.4, 90.0, 90.6),
    }
    own = np.random.default_rng([seed, int(temperature or 0), *map(ord, loss)]).normal(0, 0.03)
    noise = 0.1 * seed - 0.2 + float(own)
    if loss in table:
        return table[loss][(10, 15, 50, 100).index(int(temperature or 0))] + noise
    return {"teacher": 94.3, "hard": 90.0}[loss] + noise


def by_letter(found: list[Finding], letter: str) -> list[Finding]:
    return [finding for finding in found if finding.question.claim == letter]


def values(runs: RunSet, cell: str) -> list[float]:
    return list(runs.percents(cell, LAST).values())


def test_the_published_effects_are_reproduced_from_the_published_numbers(
    make_set: Callable[..., RunSet],
) -> None:
    found = findings(make_set(published), LAST, sizes=SIZES, slopes={"soft_hard": [0.1, 0.12]})
    verdicts = {finding.question.name: finding.verdict for finding in found}
    assert [finding.question.claim for finding in found] == list("aaabbbcdeefghh")
    undecidable = {name for name, verdict in verdicts.items() if verdict != "reproduced"}
    assert undecidable == {
        "gt_soft_hard: ratio of the gradient norms at the logits against T, as a power of T"
    }
    for finding in found:
        known = finding.question.published
        if finding.question.claim == "h":
            assert known is None, "nobody has published a ratio"
        elif finding.n:
            assert finding.effect is not None
            assert finding.effect.estimate == pytest.approx(known, abs=0.15)


def test_a_is_the_largest_of_three_paired_p_values_and_holm(
    make_set: Callable[..., RunSet],
) -> None:
    runs = make_set(published)
    ours = by_letter(findings(runs, LAST), "a")
    raw = [
        2
        * max(
            stats.ttest_rel(
                values(runs, f"{loss} T=15"), values(runs, f"{loss} T={t}"), alternative="greater"
            ).pvalue
            for t in (10, 50, 100)
        )
        for loss in ("soft", "soft_hard", "gt_soft_hard")
    ]
    order = np.argsort(raw)
    corrected = np.maximum.accumulate(np.minimum(1, np.array(raw)[order] * [3, 2, 1]))
    assert [ours[index].p for index in order] == pytest.approx(corrected.tolist())


def test_the_binding_comparison_of_a_has_scipys_interval(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(published)
    (_, ours, _) = by_letter(findings(runs, LAST), "a")
    best = values(runs, "soft_hard T=15")
    tests = [stats.ttest_rel(best, values(runs, f"soft_hard T={t}")) for t in (10, 50, 100)]
    low, high = max(tests, key=lambda one: one.pvalue).confidence_interval()
    assert ours.effect is not None
    assert [ours.effect.low, ours.effect.high] == pytest.approx([low, high])


def test_c_is_a_block_analysis_of_eight_cells(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(published)
    (ours,) = by_letter(findings(runs, LAST), "c")
    cells = np.array(
        [values(runs, f"{loss} T={t}") for loss in ("soft_hard", "soft") for t in (10, 15, 50, 100)]
    )
    left = cells - cells.mean(0) - cells.mean(1, keepdims=True) + cells.mean()
    df = 7 * 4
    error = np.sqrt((left**2).sum() / df * 8 / 16 / 5)
    estimate = cells[:4].mean() - cells[4:].mean()
    assert ours.effect is not None
    assert ours.effect.estimate == pytest.approx(estimate)
    assert ours.effect.half_width == pytest.approx(stats.t.ppf(0.975, df) * error)
    assert ours.p == pytest.approx(2 * stats.t.sf(estimate / error, df))
    by_seed = cells[:4].mean(0) - cells[4:].mean(0)
    assert ours.question.check_p == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue)


def test_f_is_a_paired_t_test(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(published)
    (ours,) = by_letter(findings(runs, LAST), "f")
    expected = stats.ttest_rel(values(runs, "teacher"), values(runs, "hard T=15"))
    assert ours.p == pytest.approx(expected.pvalue)
    assert set(ours.question.comparisons[0].mcnemar) == set(range(5))


def test_the_opposite_is_contradicted(make_set: Callable[..., RunSet]) -> None:
    found = findings(make_set(lambda *cell: 180 - published(*cell)), LAST)
    assert {f.verdict for letter in "acdef" for f in by_letter(found, letter)} == {"contradicted"}


def test_shown_to_be_nothing_is_contradicted(make_set: Callable[..., RunSet]) -> None:
    rng = np.random.default_rng(1)
    found = findings(make_set(lambda *_: 90 + rng.normal(0, 0.01)), LAST)
    answers = {(f.question.claim, f.verdict, f.reason) for f in found if f.question.equivalence}
    reason = "shown to be within 0.1 points of zero"
    assert answers == {(letter, "contradicted", reason) for letter in "cdef"}


def test_one_seed_gives_effects_and_no_verdict(make_set: Callable[..., RunSet]) -> None:
    found = findings(make_set(published, seeds=[0]), LAST, sizes=SIZES)
    assert {finding.verdict for finding in found} == {None}
    (f,) = by_letter(found, "f")
    assert f.effect is not None
    assert f.reason == "one seed: no interval and no verdict"


def test_seeds_that_show_no_noise_show_nothing(make_set: Callable[..., RunSet]) -> None:
    """Nothing was learned, say: not proof that nothing makes a difference."""
    found = findings(make_set(lambda *_: 10.0, seeds=range(3)), LAST, sizes=SIZES)
    assert {f.verdict for f in found if f.question.claim != "g"} == {None}
    (c,) = by_letter(found, "c")
    reason = "no noise can be seen in 3 seeds: no interval and no verdict"
    assert (c.n, c.p, c.reason) == (3, None, reason)
    assert {(f.question.check_p, f.question.images) for f in found} == {(None, None)}


def test_what_is_missing_is_said(make_set: Callable[..., RunSet]) -> None:
    cells = [("hard", 15.0), ("soft", 10.0), ("soft", 15.0)]
    found = findings(make_set(published, cells=cells), LAST)
    reasons = {finding.question.claim: finding.reason for finding in found}
    assert reasons["f"] == "no finished run of teacher"
    assert reasons["c"] == "no temperature with finished runs of soft_hard and soft"
    assert by_letter(found, "a")[0].reason == "no finished run of soft T=50, soft T=100"
    assert reasons["g"].startswith("sizes need")
    assert reasons["h"].startswith("not measured")


def test_a_claim_of_missing_runs_shows_the_smallest_published_effect(
    make_set: Callable[..., RunSet],
) -> None:
    found = by_letter(findings(make_set(published, seeds=[0], cells=[("hard", 15.0)]), LAST), "a")
    assert [one.question.published for one in found] == pytest.approx([0.4, 0.7, 0.8])


@pytest.mark.parametrize(
    ("letter", "better", "worse"), [("c", "soft_hard", "soft"), ("d", "gt_soft_hard", "soft_hard")]
)
def test_losses_are_compared_over_the_temperatures_that_both_have(
    make_set: Callable[..., RunSet], letter: str, better: str, worse: str
) -> None:
    cells = [(loss, t) for loss in (better, worse) for t in (10.0, 15.0)]
    runs = make_set(published, cells=[*cells, (better, 50.0), (worse, 100.0)])
    (ours,) = by_letter(findings(runs, LAST), letter)
    both = [
        np.subtract(values(runs, f"{better} T={t}"), values(runs, f"{worse} T={t}")).mean()
        for t in (10, 15)
    ]
    assert ours.effect is not None
    assert ours.effect.estimate == pytest.approx(np.mean(both))
    assert ours.question.published == pytest.approx(0.3)


def test_losses_wait_for_temperatures_that_have_no_run_yet(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(published, cells=[(loss, 15.0) for loss in ("soft", "soft_hard")])
    waiting = dataclasses.replace(runs, awaited={"soft T=100": 1})
    (c,) = by_letter(findings(waiting, LAST), "c")
    assert (c.verdict, c.awaited) == (None, 1)


def test_without_validation_images_the_last_epoch_counts(make_set: Callable[..., RunSet]) -> None:
    assert primary_view(make_set(published)) == View("running", "best_val")
    assert primary_view(make_set(published, val=False)) == LAST


def test_gradients_that_drift_are_contradicted(make_set: Callable[..., RunSet]) -> None:
    slopes = {"soft_hard": [0.05, -0.02, 0.01], "gt_soft_hard": [1.0, 1.02, 0.99]}
    found = by_letter(findings(make_set(published, seeds=[0]), LAST, slopes=slopes), "h")
    assert [finding.verdict for finding in found] == ["reproduced", "contradicted"]


def test_without_running_statistics_the_exact_ones_count(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(published)
    exact = [
        dataclasses.replace(run.record, selections={"precise": run.record.selections["precise"]})
        for run in runs.runs
    ]
    made = [Run(run.paths, record) for run, record in zip(runs.runs, exact, strict=True)]
    measured = dataclasses.replace(runs, runs=made)
    assert primary_view(measured) == View("precise", "best_val")
    assert by_letter(findings(measured, primary_view(measured)), "f")[0].effect is not None


def test_students_in_full_precision_say_nothing_of_quantization(
    make_set: Callable[..., RunSet],
) -> None:
    runs = make_set(published)
    bits = {f"quantizer.{name}_bits": "null" for name in ("weight", "activation")}
    found = findings(dataclasses.replace(runs, settings=bits), LAST, sizes=SIZES)
    for finding in (*by_letter(found, "f"), *by_letter(found, "g")):
        assert (finding.effect, finding.verdict) == (None, None)
        assert finding.reason == "its students are in full precision"


def test_a_student_in_full_precision_saves_no_space(make_set: Callable[..., RunSet]) -> None:
    sizes = {"teacher": SIZES["teacher"], "student": SIZES["teacher"]}
    (found,) = by_letter(findings(make_set(published), LAST, sizes=sizes), "g")
    assert found.verdict == "contradicted"


@pytest.mark.slow
def test_without_any_effect_verdicts_are_rare(make_set: Callable[..., RunSet]) -> None:
    """Each letter may err in at most 5 % of studies; here with the noise that runs have."""
    template, rng = make_set(published), np.random.default_rng(0)
    studies, wrong = 400, dict.fromkeys("abcdef", 0)
    for _ in range(studies):
        shared = rng.normal(0, 0.3, 5)
        made = {
            (cell, seed): 90 + shared[seed] + rng.normal(0, 0.3)
            for cell, seed in itertools.product(template.cells, range(5))
        }
        found = findings(replaced(template, made), LAST)
        for letter in wrong:
            decided = [f.verdict not in (None, "undecided") for f in by_letter(found, letter)]
            wrong[letter] += any(decided)
    rates = {letter: count / studies for letter, count in wrong.items()}
    assert max(rates.values()) <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5, rates
    assert np.mean(list(rates.values())) <= 0.05, rates


def test_one_run_without_validation_images_makes_the_last_epoch_count(
    make_set: Callable[..., RunSet],
) -> None:
    runs = make_set(published)

    def less(run: Run) -> Run:
        if run.record.seed:
            return run
        chosen = {kind: rows | {"best_val": None} for kind, rows in run.record.selections.items()}
        return Run(run.paths, dataclasses.replace(run.record, selections=chosen))

    one_lacks_it = dataclasses.replace(runs, runs=[less(run) for run in runs.runs])
    assert primary_view(one_lacks_it).selection == "last"


def test_an_unfinished_run_does_not_change_the_view(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(published, seeds=[0], cells=[("hard", 15.0), ("soft", 15.0)])
    done, other = runs.runs
    begun = dataclasses.replace(other.record, status="interrupted", selections={})
    with_it = dataclasses.replace(runs, runs=[done, Run(other.paths, begun)])
    assert primary_view(with_it) == View("running", "best_val")


def test_running_statistics_count_as_soon_as_a_run_has_them(
    make_set: Callable[..., RunSet],
) -> None:
    runs = make_set(published, seeds=[0], cells=[("hard", 15.0), ("soft", 15.0)])
    one, other = runs.runs
    exact = {"precise": other.record.selections["precise"]}
    lacking = Run(other.paths, dataclasses.replace(other.record, selections=exact))
    assert primary_view(dataclasses.replace(runs, runs=[one, lacking])).statistics == "running"


@pytest.mark.parametrize("name", ["weight", "activation"])
def test_students_of_one_kind_of_bits_are_quantized(
    make_set: Callable[..., RunSet], name: str
) -> None:
    bits = {"quantizer.weight_bits": "2", "quantizer.activation_bits": "1"}
    bits |= {f"quantizer.{name}_bits": "null"}
    found = findings(dataclasses.replace(make_set(published), settings=bits), LAST, sizes=SIZES)
    verdicts = {one.verdict for letter in "fg" for one in by_letter(found, letter)}
    assert verdicts == {"reproduced"}


def test_two_teachers_and_one_student_are_no_two_seeds(tmp_path: Path) -> None:
    write_sweep(tmp_path, published, seeds=range(2), cells=[("teacher", None)])
    write_sweep(tmp_path, published, seeds=[0], cells=[("hard", 15.0)])
    (runs,) = run_sets(read_sweep(tmp_path))
    (g,) = by_letter(findings(runs, LAST, sizes=SIZES), "g")
    assert g.effect is not None
    assert g.verdict is None


def test_size_waits_for_a_teacher(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(published, cells=[("teacher", None), ("hard", 15.0)])
    waiting = dataclasses.replace(runs, awaited={"teacher": 1})
    (g,) = by_letter(findings(waiting, LAST, sizes=SIZES), "g")
    assert (g.verdict, g.awaited) == (None, 1)


def test_size_and_gradients_wait_too(make_set: Callable[..., RunSet]) -> None:
    slopes = {"soft_hard": [0.05, -0.02, 0.01], "gt_soft_hard": [1.0, 1.02, 0.99]}
    awaited = {"hard T=15": 2, "soft_hard T=15": 1, "gt_soft_hard T=15": 1}
    runs = dataclasses.replace(make_set(published), awaited=awaited)
    found = findings(runs, LAST, sizes=SIZES, slopes=slopes)
    waiting = [one for letter in "gh" for one in by_letter(found, letter)]
    assert [(one.verdict, one.awaited) for one in waiting] == [(None, 2), (None, 1), (None, 1)]


def test_the_interval_over_images_is_of_the_effect(make_set: Callable[..., RunSet]) -> None:
    (f,) = by_letter(findings(make_set(published), LAST), "f")
    assert f.question.images is not None
    assert f.effect is not None
    assert f.question.images.estimate == pytest.approx(f.effect.estimate, abs=0.1)


def test_the_check_over_seeds_has_signs(make_set: Callable[..., RunSet]) -> None:
    def noise(loss: str, t: float | None, seed: int) -> float:
        return float(90 + np.random.default_rng([seed, int(t or 0), *map(ord, loss)]).normal(0, 1))

    runs = make_set(noise)
    (ours,) = by_letter(findings(runs, LAST), "c")
    names = [f"{loss} T={t}" for loss in ("soft_hard", "soft") for t in (10, 15, 50, 100)]
    cells = np.array([values(runs, name) for name in names])
    by_seed = cells[:4].mean(0) - cells[4:].mean(0)
    assert by_seed.min() < 0 < by_seed.max()
    assert ours.question.check_p == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue)


def test_seeds_of_which_none_has_all_cells_are_enough_for_the_blocks(
    make_set: Callable[..., RunSet],
) -> None:
    """The check over whole seeds has none then."""
    cells = [("soft", 10.0), ("soft", 15.0), ("soft_hard", 10.0), ("soft_hard", 15.0)]
    runs = make_set(published, seeds=range(4), cells=cells)
    names = [f"{loss} T={temperature:g}" for loss, temperature in cells]
    kept = [run for run in runs.runs if run.record.cell != names[run.record.seed]]
    (c,) = by_letter(findings(dataclasses.replace(runs, runs=kept), LAST), "c")
    assert c.p is not None
    assert (c.question.check_p, c.question.images) == (None, None)
