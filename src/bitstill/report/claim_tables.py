"""Tables of the claims: verdicts, how they were tested, what they depend on."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import get_args

from bitstill.errors import counted
from bitstill.report.findings import Finding
from bitstill.report.sweeps import View
from bitstill.report.table import NOT_APPLICABLE, Table, or_dash, p_text
from bitstill.statistics import Interval, Verdict

NO_VERDICT = "no verdict"
WAITING = "waiting"


def claims_table(findings: Sequence[Finding], *, view: View, cells: Collection[str]) -> Table:
    """Return the claims with effect, p and verdict.

    Args:
        findings: the deciding answers.
        view: the accuracy that they rest on.
        cells: those with runs; statements about others are left out, and only counted.
    """
    shown = [one for one in findings if _is_asked(one, cells)]
    rows = [
        [
            statement(finding),
            verdict_text(finding),
            or_dash(finding.question.published, ".2f"),
            _effect(finding),
            p_text(finding.p),
            or_dash(finding.detectable, ".2f"),
            str(finding.n) if finding.n else NOT_APPLICABLE,
        ]
        for finding in shown
    ]
    caption = (
        f"Accuracies: {view.label} batch norm statistics. effect: the deciding comparison, with "
        "its 95 % interval, in points unless a unit is given. p: two-sided, corrected over the "
        "statements of a letter (Holm), which the interval is not; where a practically zero effect "
        "contradicts the claim, p of that equivalence test. detectable: the smallest difference "
        "that this many seeds would find with 80 % probability in all of a claim's comparisons."
    )
    if without := len(findings) - len(shown):
        caption += f" {counted(without, 'statement')} not shown, for want of runs."
    header = ("claim", "verdict", "published", "effect", "p", "detectable", "seeds")
    return Table("claims", "Published claims", caption, header, rows, labels=2)


def _is_asked(finding: Finding, cells: Collection[str]) -> bool:
    """Whether there is an effect, or may be one from runs that are awaited or have failed."""
    answered = finding.effect is not None or finding.awaited > 0
    return answered or set(cells).issuperset(finding.question.cells)


def tests_table(findings: Sequence[Finding]) -> Table:
    """Return how each claim was tested, with further intervals and p-values."""
    rows = [
        [
            statement(finding),
            finding.question.test,
            _limits(finding.question.images),
            _limits(finding.question.one_seed),
            p_text(finding.equivalence_p),
            p_text(finding.question.check_p),
            finding.reason or NOT_APPLICABLE,
        ]
        for finding in findings
    ]
    caption = (
        "images: 95 % interval over both seeds and test images (crossed random effects), from the "
        "seeds that have every cell. one seed: 95 % prediction interval for the effect in a single "
        "new seed, as published effects are of one seed. The p-values are not corrected. p equal: "
        "equivalence test (two one-sided tests) against an effect of 0.1 points or more; small "
        "means practically no effect. p by seed: paired t test over the seeds' own contrasts, "
        "without pooled noise; if it is far above the claim's p, be careful."
    )
    header = ("claim", "test", "images", "one seed", "p equal", "p by seed", "note")
    return Table("tests", "How the claims were tested", caption, header, rows, labels=7)


def robustness_table(
    by_view: Mapping[View, Sequence[Finding]], learned: Sequence[Finding] = (), far_out: str = ""
) -> Table:
    """Return the verdicts under other choices of accuracy.

    Args:
        by_view: the answers for every kind of accuracy.
        learned: the deciding answers, computed without the runs that did not learn.
        far_out: a sentence that names those runs.
    """
    answers = [*by_view.values(), *([learned] if learned else [])]
    rows = [
        [statement(found[0]), *(_same(one, found[0]) for one in found)]
        for found in zip(*answers, strict=True)
        if found[0].question.unit == "points"
    ]
    header = ["claim", *(view.label for view in by_view)]
    caption = "Verdicts if other accuracies decided than the one that the claims rest on."
    if learned:
        header.append("learned")
        caption += (
            " learned: from the deciding accuracy, without the runs that did not learn. As these "
            f"were excluded after looking at the results, it decides nothing. {far_out}"
        )
    title = "Do verdicts depend on the accuracy?"
    return Table("robustness", title, caption, header, rows, labels=len(header))


def _same(finding: Finding, other: Finding) -> str:
    """Return a verdict if it is on the same statement: (c) with fewer runs may cover fewer T."""
    same = finding.question.name == other.question.name
    return verdict_text(finding) if same else NOT_APPLICABLE


def verdict_text(finding: Finding) -> str:
    """Return the verdict, or how many runs it waits for."""
    if finding.awaited:
        return f"waits for {counted(finding.awaited, 'run')}"
    return finding.verdict or NO_VERDICT


def count_verdicts(findings: Sequence[Finding]) -> str:
    """Return a sentence that counts the verdicts, and the statements that wait for one."""
    counts = verdict_counts(findings)
    parts = [f"{counts[word]} {word}" for word in get_args(Verdict)]
    others = {NO_VERDICT: "without a verdict", WAITING: "waiting for runs"}
    parts += [f"{counts[name]} {words}" for name, words in others.items() if counts[name]]
    return f"Of {len(findings)} statements: {', '.join(parts)}."


def verdict_counts(findings: Sequence[Finding]) -> Counter[str]:
    """Return how many statements have each verdict, none, or wait for one."""
    return Counter(
        WAITING if finding.awaited else finding.verdict or NO_VERDICT for finding in findings
    )


def statement(finding: Finding) -> str:
    """Return a claim's letter and wording."""
    return f"({finding.question.claim}) {finding.question.name}"


def _limits(interval: Interval | None) -> str:
    return NOT_APPLICABLE if interval is None else f"[{interval.low:z.2f}, {interval.high:z.2f}]"


def _effect(finding: Finding) -> str:
    if finding.effect is None:
        return "not measured" if finding.question.claim in "gh" else "missing"
    estimate, low, high = finding.effect
    unit = "" if finding.question.unit == "points" else f" {finding.question.unit}"
    limits = f" [{low:z.2f}, {high:z.2f}]" if low < high < float("inf") else ""
    return f"{estimate:z.2f}{limits}{unit}"
