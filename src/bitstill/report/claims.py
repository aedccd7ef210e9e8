"""The published conclusions as named claims (a) to (h), tested on a set of runs.

(a) T = 15 is the best of the four temperatures. (b) Accuracy rises, falls and rises again over T.
(c) Adding the hard term to the soft one helps. (d) The ground truth in both terms helps more.
(e) Distillation beats training on the ground truth alone. (f) Quantization costs accuracy.
(g) It saves space. (h) c = T^2 keeps the ratio of the two pulls level.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean

from bitstill.report import published
from bitstill.report.evidence import all_above, blocked, missing
from bitstill.report.findings import Comparison, Finding, Question, answer, awaited_by, waiting
from bitstill.report.published import ACCURACIES, DISTILLED, HARD_TEMPERATURE, TEMPERATURES
from bitstill.report.sizes import Sizes
from bitstill.report.sweeps import HARD, RunSet, View
from bitstill.runs.identity import TEACHER, cell_name
from bitstill.statistics import Interval, Verdict, paired_difference

BAND = 0.25
"""How far the exponent of T in the ratio of gradients may be from 0: 1.8 times from 10 to 100."""

_BEST = HARD_TEMPERATURE  # the published best, at which hard was trained, too
_BEST_OF_FOUR = [(_BEST, other) for other in TEMPERATURES if other != _BEST]
_UP_DOWN_UP = [(15.0, 10.0), (15.0, 50.0), (100.0, 50.0)]


def primary_view(runs: RunSet) -> View:
    """Return the accuracy that verdicts rest on, which is fixed before looking at results.

    It takes running statistics, as published, where they were measured, and the epoch chosen on
    held-out images, or the last epoch where none were held out. The published choice, the best
    epoch on the test set, is not a fair measure.
    """
    done = [run for run in runs.runs if run.done]
    published_kind = any(run.percent(View("running", "last")) is not None for run in done)
    statistics = "running" if published_kind or not done else "precise"
    honest = View(statistics, "best_val")
    has_val = bool(done) and all(run.percent(honest) is not None for run in done)
    return honest if has_val else View(statistics, "last")


def findings(
    runs: RunSet,
    view: View,
    *,
    sizes: Mapping[str, Sizes] | None = None,
    slopes: Mapping[str, Sequence[float]] | None = None,
) -> list[Finding]:
    """Answer all claims for one kind of accuracy.

    Args:
        runs: comparable runs.
        view: the accuracy.
        sizes: those of ``teacher`` and ``student``, for (g).
        slopes: for each loss with two terms, each seed's exponent of T in the measured ratio of
            gradient norms under c = T^2, for (h); without it, (h) is not measured.
    """
    best, shape = "T = 15 is the best of the four", "up from T = 10 to 15, down to 50, up to 100"
    questions = [
        *(_temperatures(runs, view, "a", loss, best, _BEST_OF_FOUR) for loss in DISTILLED),
        *(_temperatures(runs, view, "b", loss, shape, _UP_DOWN_UP) for loss in DISTILLED),
        _losses(runs, view, "c", "soft_hard", "soft"),
        _losses(runs, view, "d", "gt_soft_hard", "soft_hard"),
        *(_distillation(runs, view, loss) for loss in ("soft", "soft_hard")),
        _quantization(runs, view),
    ]
    found = [
        finding
        for _, of_letter in groupby(questions, key=lambda question: question.claim)
        for finding in answer(list(of_letter), runs.awaited)
    ]
    seeds = max((len(runs.done(cell)) for cell in runs.cells if cell != TEACHER), default=0)
    space = _space(runs, sizes or {}, seeds=seeds)
    gradients = [_gradients(loss, (slopes or {}).get(loss, ())) for loss in published.TWO_TERMS]
    counted = waiting(space, awaited_by(space.question, runs.awaited))
    return [*found, counted, *answer(gradients, runs.awaited)]


def _temperatures(
    runs: RunSet,
    view: View,
    claim: str,
    loss: str,
    words: str,
    steps: Sequence[tuple[float, float]],
) -> Question:
    """Ask whether a loss is better at the first temperature of each step than at the second."""
    known = ACCURACIES[loss]
    question = Question(
        claim,
        f"{loss}: {words}",
        "intersection-union of three paired t tests",
        published=min(known[high] - known[low] for high, low in steps),
    )
    pairs = [(cell_name(loss, high), cell_name(loss, low)) for high, low in steps]
    question = all_above(runs, view, question, pairs)
    if question.missing:
        return question
    high, low = steps[list(question.comparisons).index(question.binding)]
    return dataclasses.replace(question, published=known[high] - known[low])


def _losses(runs: RunSet, view: View, claim: str, better: str, worse: str) -> Question:
    """Ask whether one loss is better than another, averaged over their common temperatures."""
    shared = [
        temperature
        for temperature in TEMPERATURES
        if not missing(runs, view, [cell_name(loss, temperature) for loss in (better, worse)])
    ]
    over = ", ".join(f"{temperature:g}" for temperature in shared)
    question = Question(
        claim,
        f"{better} above {worse}" + (f", mean over T = {over}" if shared else ""),
        "OLS with seed as a block",
        equivalence=True,
        cells=[cell_name(loss, one) for loss in (better, worse) for one in TEMPERATURES],
    )
    if not shared:
        absent = f"no temperature with finished runs of {better} and {worse}"
        return dataclasses.replace(question, missing=absent)
    weights = {
        cell_name(loss, temperature): sign / len(shared)
        for loss, sign in ((better, 1.0), (worse, -1.0))
        for temperature in shared
    }
    known = fmean(ACCURACIES[better][one] - ACCURACIES[worse][one] for one in shared)
    return blocked(runs, view, dataclasses.replace(question, published=known), weights)


def _distillation(runs: RunSet, view: View, loss: str) -> Question:
    """Ask whether a loss with a teacher, at the published T, beats ``hard``."""
    question = Question(
        "e",
        f"{loss} at T = 15 above hard",
        "paired t test",
        published=ACCURACIES[loss][_BEST] - published.HARD_ACCURACY,
        equivalence=True,
    )
    return all_above(runs, view, question, [(cell_name(loss, _BEST), HARD)])


def _quantization(runs: RunSet, view: View) -> Question:
    question = Question(
        "f",
        "teacher above the student (hard, T = 15)",
        "paired t test",
        published=published.TEACHER_ACCURACY - published.HARD_ACCURACY,
        equivalence=True,
    )
    if _is_unquantized(runs):
        return dataclasses.replace(question, missing=_UNQUANTIZED)
    return all_above(runs, view, question, [(TEACHER, HARD)])


_UNQUANTIZED = "its students are in full precision"


def _is_unquantized(runs: RunSet) -> bool:
    bits = (runs.settings.get(f"quantizer.{name}_bits") for name in ("weight", "activation"))
    return all(one == "null" for one in bits)


def _space(runs: RunSet, sizes: Mapping[str, Sizes], *, seeds: int) -> Finding:
    """Compare sizes, which needs no test; as for other claims, one seed gives no verdict."""
    question = Question(
        "g",
        "deployed teacher (float32) over deployed student",
        "counted",
        published=published.TEACHER_MEBIBYTES / published.HARD_MEBIBYTES,
        unit="times",
        cells=(TEACHER, HARD),
    )
    if _is_unquantized(runs):
        return Finding(question, reason=_UNQUANTIZED)
    if not {"teacher", "student"} <= sizes.keys():
        return Finding(question, reason="sizes need a finished teacher and a finished student")
    factor = sizes["teacher"]["deployed"] / sizes["student"]["deployed"]
    reason = (
        f"like for like {factor:.1f} times; the published 3 times compares the teacher with "
        "Adam's moments to the student's 32-bit weights, and has nothing to do with quantization"
    )
    found: Verdict = "reproduced" if factor > 1 else "contradicted"
    effect = Interval(factor, factor, factor)
    return Finding(question, effect, verdict=found if seeds > 1 else None, reason=reason)


def _gradients(loss: str, slopes: Sequence[float]) -> Question:
    question = Question(
        "h",
        f"{loss}: ratio of the gradient norms at the logits against T, as a power of T",
        f"two one-sided t tests, within {BAND:g} of 0",
        unit="power of T",
        band=BAND,
        cells=[cell_name(loss, HARD_TEMPERATURE)],
    )
    if not slopes:
        absent = "not measured: needs weights and images at hand"
        return dataclasses.replace(question, missing=absent)
    difference = paired_difference(slopes, [0.0] * len(slopes))
    return dataclasses.replace(question, comparisons=[Comparison("slope", difference)])
