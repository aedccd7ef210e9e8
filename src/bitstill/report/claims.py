"""The published conclusions as named claims (a) to (h), and what a set of runs says of each."""

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean

import numpy as np

from bitstill.report import published
from bitstill.report.findings import Comparison, Finding, Question, answer
from bitstill.report.published import DISTILLED, HARD_TEMPERATURE, TEMPERATURES
from bitstill.report.sizes import Sizes
from bitstill.report.sweeps import TEACHER, RunSet, View, cell_name
from bitstill.statistics import (
    Interval,
    Verdict,
    blocked_contrast,
    mcnemar_p,
    paired_difference,
    two_way_bootstrap_interval,
)

CLAIMS = {
    "a": "T = 15 is the best of the four temperatures",
    "b": "Accuracy rises, falls and rises again over T = 10, 15, 50, 100",
    "c": "Adding the hard term to the soft one helps",
    "d": "The ground truth in both terms helps more",
    "e": "Distillation beats training on the ground truth alone",
    "f": "Quantization costs accuracy",
    "g": "Quantization saves space",
    "h": "c = T^2 keeps the pull of the two terms alike",
}

BAND = 0.25
"""How far the exponent of T in the ratio of gradients may be from 0: 1.8 times from 10 to 100."""

_BEST = 15.0
_HARD = cell_name("hard", HARD_TEMPERATURE)


def primary_view(runs: RunSet) -> View:
    """Return the accuracy that verdicts rest on, fixed before any is looked at.

    Running statistics, as published; the epoch chosen on held-out images, or the last one where
    none were held out. The published choice, the best epoch on the test set, is no fair measure.
    """
    done = [run for run in runs.runs if run.done]
    honest = View("running", "best_val")
    has_val = bool(done) and all(run.percent(honest) is not None for run in done)
    return honest if has_val else View("running", "last")


def findings(
    runs: RunSet,
    view: View,
    *,
    sizes: Mapping[str, Sizes] | None = None,
    slopes: Mapping[str, Sequence[float]] | None = None,
) -> list[Finding]:
    """Answer all claims for one kind of accuracy.

    Args:
        runs: that may be compared.
        view: the accuracy.
        sizes: of ``teacher`` and ``student``, for (g).
        slopes: for each loss with two terms, each seed's exponent of T in the measured ratio of
            gradient norms under c = T^2, for (h); not measured without it.
    """
    questions = [
        *(_best_temperature(runs, view, loss) for loss in DISTILLED),
        *(_shape(runs, view, loss) for loss in DISTILLED),
        _losses(runs, view, "c", "soft_hard", "soft"),
        _losses(runs, view, "d", "gt_soft_hard", "soft_hard"),
        *_distillation(runs, view),
        _quantization(runs, view),
    ]
    found = [
        finding
        for _, of_letter in groupby(questions, key=lambda question: question.claim)
        for finding in answer(list(of_letter))
    ]
    seeds = max((len(runs.done(cell)) for cell in runs.cells if cell != TEACHER), default=0)
    space = _space(sizes or {}, seeds=seeds)
    return [*found, space, *answer(_gradients(slopes or {}))]


def _published(loss: str, temperature: float) -> float:
    return DISTILLED[loss][TEMPERATURES.index(temperature)]


def _missing(runs: RunSet, view: View, cells: Sequence[str]) -> str:
    """Say which cells have no number, or that they have no seed in common."""
    empty = [cell for cell in cells if not runs.percents(cell, view)]
    if empty:
        return "no finished run of " + ", ".join(empty)
    common = set.intersection(*(set(runs.percents(cell, view)) for cell in cells))
    return "" if common else "no seed in common: " + ", ".join(cells)


def _paired(runs: RunSet, view: View, first: str, second: str) -> Comparison:
    ours, theirs = runs.percents(first, view), runs.percents(second, view)
    seeds = sorted(ours.keys() & theirs.keys())
    difference = paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds])
    return Comparison(f"{first} minus {second}", difference, _mcnemar(runs, view, first, second))


def _mcnemar(runs: RunSet, view: View, first: str, second: str) -> dict[int, float]:
    one, other = (
        {run.record.seed: run.correctness.get(str(view)) for run in runs.done(cell)}
        for cell in (first, second)
    )
    pairs = {seed: (one[seed], other[seed]) for seed in sorted(one.keys() & other.keys())}
    return {
        seed: mcnemar_p(a, b)
        for seed, (a, b) in pairs.items()
        if a is not None and b is not None and len(a) == len(b)
    }


def _over_images(runs: RunSet, view: View, weights: Mapping[str, float]) -> Interval | None:
    """Return the two-way interval of a contrast in points, over the seeds that all cells have."""
    bits = {
        cell: {run.record.seed: run.correctness.get(str(view)) for run in runs.done(cell)}
        for cell in weights
    }
    common = sorted(set.intersection(*(set(by_seed) for by_seed in bits.values())))
    rows = []
    for seed in common:
        images = [bits[cell][seed] for cell in weights]
        known = [one for one in images if one is not None]
        if len(known) < len(images) or len({len(one) for one in known}) > 1:
            return None
        weighted = zip(weights.values(), known, strict=True)
        rows.append(np.sum([weight * one for weight, one in weighted], axis=0))
    if len(rows) < 2:
        return None
    return Interval(*(100 * limit for limit in two_way_bootstrap_interval(np.array(rows))))


def _all_above(
    runs: RunSet, view: View, question: Question, pairs: Sequence[tuple[str, str]]
) -> Question:
    """Fill a question that wants the first cell of every pair above the second."""
    cells = list(dict.fromkeys(cell for pair in pairs for cell in pair))
    missing = _missing(runs, view, cells)
    if missing:
        return _with(question, missing=missing)
    filled = _with(question, comparisons=[_paired(runs, view, *pair) for pair in pairs])
    first, second = pairs[list(filled.comparisons).index(filled.binding)]
    return _with(filled, images=_over_images(runs, view, {first: 1.0, second: -1.0}))


def _with(question: Question, **changes: object) -> Question:
    return dataclasses.replace(question, **changes)  # type: ignore[arg-type]


def _best_temperature(runs: RunSet, view: View, loss: str) -> Question:
    others = [temperature for temperature in TEMPERATURES if temperature != _BEST]
    question = Question(
        "a",
        f"{loss}: T = 15 is the best of the four",
        "intersection-union of three paired t tests",
        published=_published(loss, _BEST) - max(_published(loss, other) for other in others),
    )
    best = cell_name(loss, _BEST)
    return _all_above(runs, view, question, [(best, cell_name(loss, other)) for other in others])


def _shape(runs: RunSet, view: View, loss: str) -> Question:
    steps = [(15.0, 10.0), (15.0, 50.0), (100.0, 50.0)]
    question = Question(
        "b",
        f"{loss}: up from T = 10 to 15, down to 50, up to 100",
        "intersection-union of three paired t tests",
        published=min(_published(loss, high) - _published(loss, low) for high, low in steps),
    )
    pairs = [(cell_name(loss, high), cell_name(loss, low)) for high, low in steps]
    return _all_above(runs, view, question, pairs)


def _losses(runs: RunSet, view: View, claim: str, better: str, worse: str) -> Question:
    """Ask whether one loss is above another, averaged over the temperatures that both have."""
    shared = [
        temperature
        for temperature in TEMPERATURES
        if not _missing(runs, view, [cell_name(loss, temperature) for loss in (better, worse)])
    ]
    over = ", ".join(f"{temperature:g}" for temperature in shared)
    question = Question(
        claim,
        f"{better} above {worse}" + (f", mean over T = {over}" if shared else ""),
        "OLS with seed as a block",
        equivalence=True,
    )
    if not shared:
        return _with(question, missing=f"no temperature with finished runs of {better} and {worse}")
    weights = {
        cell_name(loss, temperature): sign / len(shared)
        for loss, sign in ((better, 1.0), (worse, -1.0))
        for temperature in shared
    }
    pairs = [_published(better, one) - _published(worse, one) for one in shared]
    return _blocked(runs, view, _with(question, published=fmean(pairs)), weights)


def _blocked(runs: RunSet, view: View, question: Question, weights: dict[str, float]) -> Question:
    observations = [
        (cell, seed, value) for cell in weights for seed, value in runs.percents(cell, view).items()
    ]
    comparison = Comparison(question.name, blocked_contrast(observations, weights))
    return _with(
        question,
        comparisons=[comparison],
        images=_over_images(runs, view, weights),
        check_p=_check_p(observations, weights),
    )


def _check_p(
    observations: Sequence[tuple[str, int, float]], weights: Mapping[str, float]
) -> float | None:
    """Return the p of a paired t test over the contrasts of seeds that have every cell."""
    by_seed: dict[int, dict[str, float]] = {}
    for cell, seed, value in observations:
        by_seed.setdefault(seed, {})[cell] = value
    contrasts = [
        sum(weight * values[cell] for cell, weight in weights.items())
        for values in by_seed.values()
        if values.keys() == weights.keys()
    ]
    if len(contrasts) < 2:
        return None
    return paired_difference(contrasts, [0.0] * len(contrasts)).p


def _distillation(runs: RunSet, view: View) -> list[Question]:
    """Ask of each loss with a teacher, at the published T, whether it beats ``hard``."""
    questions = []
    for loss in ("soft", "soft_hard"):
        question = Question(
            "e",
            f"{loss} at T = 15 above hard",
            "paired t test",
            published=_published(loss, _BEST) - published.HARD_ACCURACY,
            equivalence=True,
        )
        questions.append(_all_above(runs, view, question, [(cell_name(loss, _BEST), _HARD)]))
    return questions


def _quantization(runs: RunSet, view: View) -> Question:
    question = Question(
        "f",
        "teacher above the student (hard, T = 15)",
        "paired t test",
        published=published.TEACHER_ACCURACY - published.HARD_ACCURACY,
        equivalence=True,
    )
    return _all_above(runs, view, question, [(TEACHER, _HARD)])


def _space(sizes: Mapping[str, Sizes], *, seeds: int) -> Finding:
    """Count; there is nothing to test. The rule of no verdict on one seed holds here as well."""
    question = Question(
        "g",
        "teacher's float32 weights over the deployed student",
        "counted",
        published=3.43 / 1.13,
        unit="times",
    )
    if not {"teacher", "student"} <= sizes.keys():
        return Finding(question, reason="sizes need a finished teacher and a finished student")
    teacher, student = sizes["teacher"], sizes["student"]
    factor = teacher.float32 / student.deployed
    reason = (
        f"like for like {factor:.1f} times; the published 3 times compares the teacher with "
        "Adam's moments to the student's 32-bit weights, and has nothing to do with quantization"
    )
    found: Verdict = "reproduced" if factor > 1 else "contradicted"
    effect = Interval(factor, factor, factor)
    return Finding(question, effect, verdict=found if seeds > 1 else None, reason=reason)


def _gradients(slopes: Mapping[str, Sequence[float]]) -> list[Question]:
    questions = []
    for loss in ("soft_hard", "gt_soft_hard"):
        question = Question(
            "h",
            f"{loss}: ratio of the gradient norms at the logits against T, as a power of T",
            f"two one-sided t tests, within {BAND:g} of 0",
            published=0.0,
            unit="power of T",
            band=BAND,
        )
        values = slopes.get(loss, ())
        if values:
            difference = paired_difference(values, [0.0] * len(values))
            question = _with(question, comparisons=[Comparison("slope", difference)])
        else:
            question = _with(question, missing="not measured: needs weights and images at hand")
        questions.append(question)
    return questions
