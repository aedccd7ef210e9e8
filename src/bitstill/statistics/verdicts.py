"""Verdicts on a claim."""

from typing import Literal

ALPHA = 0.05
POWER = 0.8
MARGIN = 0.1
"""Percentage points of accuracy that make no practical difference."""

Verdict = Literal["reproduced", "contradicted", "undecided"]


def verdict(*, p_for: float, p_against: float) -> Verdict:
    """Return the verdict on a claim from two corrected p-values.

    Each p is two-sided, so each direction spends half of ``ALPHA``: a claim without any effect
    gets a false verdict in at most a fraction ``ALPHA`` of all studies.

    Args:
        p_for: p of what the claim excludes; small if the data show the claim.
        p_against: p of the claim; small if the data exclude it.
    """
    if p_for < ALPHA:
        return "reproduced"
    return "contradicted" if p_against < ALPHA else "undecided"
