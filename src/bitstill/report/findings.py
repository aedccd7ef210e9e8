"""From comparisons to findings: correction, verdict, and what could have been detected."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bitstill.errors import counted
from bitstill.statistics import (
    ALPHA,
    MARGIN,
    POWER,
    Difference,
    Interval,
    Verdict,
    equivalence_p,
    holm,
    intersection_union_p,
    smallest_detectable,
    verdict,
)


@dataclass(frozen=True)
class Comparison:
    """One tested difference in a question.

    Attributes:
        name: what is compared.
        difference: the difference, in the question's unit.
        mcnemar: the p-value of McNemar's test between the two runs of each seed; may be empty.
    """

    name: str
    difference: Difference
    mcnemar: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """A claim about some cells, before it is answered.

    Attributes:
        claim: the claim's letter; questions of one letter are corrected together.
        name: the claim in words.
        test: which test answers it.
        comparisons: those that, according to the claim, are *all* above zero.
        published: the published effect, or None.
        unit: that of the effect.
        images: interval of the effect over seeds and test images, or None.
        check_p: two-sided p of a paired t test over the seeds' own contrasts, where the test itself
            pools the noise of several cells; it allows for a seed's effect on one loss alone.
        missing: what the answer would need but is not there; empty if nothing is missing.
        equivalence: whether an effect within the margin of zero contradicts the claim.
        band: if given, the claim is instead that the only comparison lies within +- this.
        cells: those that the claim is about, whether they have runs or not.
    """

    claim: str
    name: str
    test: str
    comparisons: Sequence[Comparison] = ()
    published: float | None = None
    unit: str = "points"
    images: Interval | None = None
    check_p: float | None = None
    missing: str = ""
    equivalence: bool = False
    band: float | None = None
    cells: Sequence[str] = ()

    @property
    def binding(self) -> Comparison:
        """The deciding comparison: the one with the weakest evidence for the claim."""
        return max(
            self.comparisons,
            key=lambda one: (one.difference.p_above(0.0), -one.difference.estimate),
        )

    @property
    def has_noise(self) -> bool:
        """Whether every comparison has a degree of freedom, without which nothing can be tested."""
        return all(one.difference.df >= 1 for one in self.comparisons)

    @property
    def one_seed(self) -> Interval | None:
        """The prediction interval for one new seed; None if there are several comparisons."""
        if len(self.comparisons) != 1 or self.unit != "points" or not self.has_noise:
            return None
        return self.comparisons[0].difference.of_one_seed()

    @property
    def p_for(self) -> float:
        """Two-sided p, small if the claim is shown."""
        differences = [one.difference for one in self.comparisons]
        if self.band is not None:
            return min(1.0, 2 * equivalence_p(differences[0], self.band))
        return intersection_union_p(differences)

    @property
    def p_against(self) -> list[float]:
        """Two-sided p of each comparison, small if that one refutes the claim."""
        differences = [one.difference for one in self.comparisons]
        if self.band is not None:
            one = differences[0]
            beyond = min(one.p_above(self.band), one.p_below(-self.band))
            return [min(1.0, 2 * beyond)]
        return [min(1.0, 2 * difference.p_below(0.0)) for difference in differences]


@dataclass(frozen=True)
class Finding:
    """A question with its answer.

    Attributes:
        question: the question.
        effect: that of the binding comparison, with its t interval; None if something is missing.
        n: number of seeds; 0 if something is missing.
        p: corrected within the letter. It is for the claim if the effect points that way, else
            against it; where a practically zero effect refutes the claim, it is that test's.
        equivalence_p: p of "the effect is at least 0.1 points in size"; None in other units.
        detectable: the smallest difference that, if all comparisons have it, this many seeds find
            in all of them with 80 % probability; None where no difference from zero is tested.
        verdict: None with fewer than two seeds, or while runs are awaited.
        reason: why there is no verdict, or what to know about the verdict.
        awaited: the runs that a verdict waits for.
    """

    question: Question
    effect: Interval | None = None
    n: int = 0
    p: float | None = None
    equivalence_p: float | None = None
    detectable: float | None = None
    verdict: Verdict | None = None
    reason: str = ""
    awaited: int = 0


def awaited_by(question: Question, awaited: Mapping[str, int]) -> int:
    """Return how many unfinished runs a question waits for.

    Args:
        question: any question.
        awaited: how many runs of each cell a sweep asks for and has not finished.
    """
    return sum(awaited.get(cell, 0) for cell in question.cells)


def waiting(finding: Finding, count: int) -> Finding:
    """Return a finding without verdict and p while runs of its cells are unfinished.

    Looking for a verdict after every run, until there is one, raises the rate of false verdicts.

    Args:
        finding: the finding from the finished runs.
        count: how many runs are unfinished.
    """
    if not count:
        return finding
    runs = counted(count, "run")
    reason = f"the verdict waits for {runs}, so that it does not depend on when one looks"
    return dataclasses.replace(
        finding,
        question=dataclasses.replace(finding.question, check_p=None),
        p=None,
        equivalence_p=None,
        verdict=None,
        reason=reason,
        awaited=count,
    )


def answer(questions: Sequence[Question], awaited: Mapping[str, int]) -> list[Finding]:
    """Answer the questions of one letter, corrected for multiple tests (Holm).

    The p for and against a claim are corrected apart, each at half the level, so that all questions
    of a letter together get a false verdict in at most 5 % of studies without any effect. A
    question that waits for runs counts as if it showed nothing, so the others keep their verdicts.

    Args:
        questions: those of one letter.
        awaited: how many runs of each cell a sweep asks for and has not finished.
    """
    later = [awaited_by(one, awaited) for one in questions]
    pairs = list(zip(questions, later, strict=True))
    testable = [one for one, count in pairs if not count and not one.missing and one.has_noise]
    open_ = sum(count > 0 for count in later)
    each = max((len(one.comparisons) for one in questions), default=0)
    p_for = holm([one.p_for for one in testable] + [1.0] * open_)
    flat = iter(holm([p for one in testable for p in one.p_against] + [1.0] * open_ * each))
    corrected = {
        id(one): (p, min(next(flat) for _ in one.comparisons))
        for one, p in zip(testable, p_for, strict=False)
    }
    found = [_finding(one, corrected.get(id(one)), len(testable) + open_) for one in questions]
    return [waiting(one, count) for one, count in zip(found, later, strict=True)]


def _finding(question: Question, corrected: tuple[float, float] | None, tests: int) -> Finding:
    if question.missing:
        return Finding(question, reason=question.missing)
    effect = question.binding.difference
    n = min(one.difference.n for one in question.comparisons)
    if not question.has_noise:
        seen = "one seed" if n == 1 else f"no noise can be seen in {n} seeds"
        reason = f"{seen}: no interval and no verdict"
        return Finding(question, effect.interval(), n, reason=reason)
    p_for, p_against = corrected or (1.0, 1.0)  # no p while it waits: both are removed later
    found = verdict(p_for=p_for, p_against=p_against)
    nothing = equivalence_p(effect, MARGIN) if question.unit == "points" else None
    p = p_for if _points_for(question) else p_against
    reason = ""
    # Half the level and a correction, as for other p: otherwise noise that happens to look small
    # would add false verdicts. This test overrules an effect above zero. Its correction does not
    # depend on the other statements' p, so none of them changes the verdict later.
    if nothing is not None and nothing * tests < ALPHA / 2:
        reason = f"shown to be within {MARGIN:g} points of zero"
        if question.equivalence:
            found, p = "contradicted", min(1.0, 2 * nothing * tests)
    # Each comparison needs more power, for all to be found at once. This takes them as independent,
    # which is on the safe side where they share a cell.
    power = POWER ** (1 / len(question.comparisons))
    detectable = max(
        smallest_detectable(
            one.difference.error, one.difference.df, alpha=ALPHA / tests, power=power
        )
        for one in question.comparisons
    )
    return Finding(
        question,
        effect.interval(),
        n,
        p=p,
        equivalence_p=nothing,
        detectable=detectable if question.band is None and math.isfinite(detectable) else None,
        verdict=found,
        reason=reason,
    )


def _points_for(question: Question) -> bool:
    estimate = question.binding.difference.estimate
    return abs(estimate) < question.band if question.band is not None else estimate > 0
