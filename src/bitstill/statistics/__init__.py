"""Intervals, tests and verdicts: pure functions on numbers and arrays, without imports of ours.

The unit of evidence is the training run (Bouthillier et al. 2021, arXiv 2103.03098). Runs of one
seed start from the same weights and see the same order of images, so cells are compared by seed.
"""

from bitstill.statistics.blocks import blocked_contrast
from bitstill.statistics.comparisons import (
    Difference,
    equivalence_p,
    holm,
    intersection_union_p,
    paired_difference,
    seeds_needed,
    smallest_detectable,
)
from bitstill.statistics.images import mcnemar_p, two_way_interval
from bitstill.statistics.intervals import Interval, mean_interval
from bitstill.statistics.verdicts import ALPHA, MARGIN, POWER, Verdict, verdict

__all__ = [
    "ALPHA",
    "MARGIN",
    "POWER",
    "Difference",
    "Interval",
    "Verdict",
    "blocked_contrast",
    "equivalence_p",
    "holm",
    "intersection_union_p",
    "mcnemar_p",
    "mean_interval",
    "paired_difference",
    "seeds_needed",
    "smallest_detectable",
    "two_way_interval",
    "verdict",
]
