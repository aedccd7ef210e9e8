"""From comparisons to verdicts: what is corrected, what waits, and how often it errs."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bitstill.report.claim_tables import claims_table
from bitstill.report.findings import Comparison, Question, answer
from bitstill.report.sweeps import View
from bitstill.statistics import Difference, paired_difference, smallest_detectable


@pytest.mark.parametrize("noise", [0.5, 0.8, 1.2])
def test_few_seeds_and_images_claim_no_more(noise: float) -> None:
    """Accuracies of 360 images, two seeds: their differences are often the same by chance."""
    rng, wrong, studies = np.random.default_rng(1), 0, 1000
    for _ in range(studies):
        hard, *others = np.round(rng.normal(85, noise, (3, 2)) * 3.6) / 3.6
        asked = [Comparison("", paired_difference(other, hard)) for other in others]
        found = answer([Question("e", "", "", [one], equivalence=True) for one in asked], {})
        wrong += any(one.verdict not in (None, "undecided") for one in found)
    assert wrong / studies <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5


def test_what_is_practically_nothing_stays_so() -> None:
    """Its p may fall as a sibling's does: a verdict does not change with it."""
    tiny, clear = Difference(0.03, 0.009, 4, 5), Difference(1.0, 0.01, 4, 5)
    asked = [
        Question("e", cell, "", [Comparison("", one)], equivalence=True, cells=[cell])
        for cell, one in (("tiny", tiny), ("clear", clear))
    ]
    for later in ({"clear": 1}, {}):
        (found, _) = answer(asked, later)
        assert (found.verdict, found.reason) == (
            "contradicted",
            "shown to be within 0.1 points of zero",
        )


def test_a_letter_is_corrected_as_a_whole() -> None:
    weak = Question("z", "weak", "t", [Comparison("", Difference(0.3, 0.1, 4, 5))])
    (alone,) = answer([weak], {})
    first, second = answer([weak, weak], {})
    assert alone.p == pytest.approx(2 * stats.t.sf(3, 4))
    assert alone.verdict == "reproduced"
    assert first.p == second.p == pytest.approx(4 * stats.t.sf(3, 4))
    assert first.verdict == "undecided"


def test_what_a_statement_gets_does_not_depend_on_when_its_letter_is_complete() -> None:
    """Looked at early, its siblings count as if they showed nothing: what it gets now, it keeps."""

    def asked(cell: str, p_half: float, missing: str = "") -> Question:
        difference = Difference(float(stats.t.isf(p_half, 4)), 1.0, 4, 5)
        return Question("z", cell, "t", [Comparison("", difference)], cells=[cell], missing=missing)

    clear = asked("clear", 0.009)
    for sibling in (asked("later", 0.4), asked("later", 1e-6), asked("later", 0.4, "no run")):
        early, waiting = answer([clear, sibling], {"later": 1})
        assert early.p == pytest.approx(2 * 0.018)
        assert (waiting.verdict, waiting.p, waiting.awaited) == (None, None, 1)
        complete, _ = answer([clear, sibling], {})
        assert early.verdict == complete.verdict == "reproduced"
        assert complete.p is not None
        assert complete.p <= 2 * 0.018 * 1.001
    alone, _ = answer([clear, asked("never", 0.4, "no run")], {})
    assert alone.p == pytest.approx(0.018), "what nobody asks for is not a part of the study"


def test_the_effect_that_is_shown_is_the_one_whose_p_is() -> None:
    sharp, blunt = Difference(0.3, 0.01, 4, 5), Difference(0.6, 0.5, 4, 5)
    both = Question("z", "", "t", [Comparison("sharp", sharp), Comparison("blunt", blunt)])
    (found,) = answer([both], {})
    assert found.effect == blunt.interval()
    assert found.p == pytest.approx(blunt.p)
    refuted, unclear = Difference(-0.3, 0.01, 4, 5), Difference(-0.6, 0.5, 4, 5)
    both = Question("z", "", "t", [Comparison("", refuted), Comparison("", unclear)])
    (found,) = answer([both], {})
    assert (found.verdict, found.effect) == ("contradicted", refuted.interval())


def test_of_effects_without_noise_the_least_is_shown() -> None:
    """As of one seed: the claim is that every one of them is above zero."""
    effects = [Difference(estimate, math.nan, 0, 1) for estimate in (0.6, -0.2, 0.3)]
    (found,) = answer([Question("z", "", "t", [Comparison("", one) for one in effects])], {})
    assert found.effect is not None
    assert found.effect.estimate == -0.2


@pytest.mark.parametrize(("error", "shown"), [(math.nan, "0.00"), (1e-9, "0.00 [0.00, 0.00]")])
def test_an_effect_of_nothing_has_no_minus(error: float, shown: str) -> None:
    effect = Difference(-0.004, error, 0 if math.isnan(error) else 4, 5)
    [row] = claims_table(
        answer([Question("z", "", "t", [Comparison("", effect)])], {}),
        view=View("running", "best_val"),
        cells=[],
    ).rows
    assert row[3] == shown


def about(*differences: Difference, **more: Any) -> Question:
    return Question("z", "", "t", [Comparison("", one) for one in differences], **more)


def near_zero(p: float) -> Difference:
    """A difference of none, whose equivalence to zero within 0.1 has this p."""
    return Difference(0.0, 0.1 / float(stats.t.isf(p, 4)), 4, 5)


@pytest.mark.parametrize(
    ("p", "count", "expected"),
    [
        (0.02, 1, "contradicted"),
        (0.02, 2, "undecided"),
        (0.03, 1, "undecided"),
        (0.012, 2, "contradicted"),
    ],
)
def test_to_be_nothing_is_corrected_too_at_half_the_level(
    p: float, count: int, expected: str
) -> None:
    found = answer([about(near_zero(p), equivalence=True)] * count, {})
    assert {one.verdict for one in found} == {expected}
    # Of a difference of none the claim and its opposite have p = 1.
    shown = 2 * p * count if expected == "contradicted" else 1.0
    assert [one.p for one in found] == pytest.approx([shown] * count)


def test_to_be_nothing_is_corrected_for_what_waits() -> None:
    asked = [about(near_zero(0.02), equivalence=True), about(near_zero(0.4), cells=["later"])]
    found, _ = answer(asked, {"later": 1})
    assert found.verdict == "undecided"


def test_what_is_nothing_refutes_only_claims_of_equivalence() -> None:
    (found,) = answer([about(near_zero(0.001))], {})
    assert (found.verdict, found.reason) == ("undecided", "shown to be within 0.1 points of zero")


def test_what_could_have_been_detected_in_all_of_several() -> None:
    sharp, blunt = Difference(0.3, 0.1, 4, 5), Difference(0.3, 0.5, 4, 5)
    first, _ = answer([about(sharp, blunt), about(sharp)], {})
    expected = smallest_detectable(0.5, 4, alpha=0.025, power=0.8**0.5)
    assert first.detectable == pytest.approx(expected)


def test_of_a_band_both_sides_are_tested() -> None:
    inside, below = Difference(0.0, 0.05, 4, 5), Difference(-1.0, 0.05, 4, 5)
    (found,) = answer([about(inside, band=0.25, unit="power of T")], {})
    assert found.p == pytest.approx(2 * stats.t.sf(5, 4))
    assert (found.verdict, found.detectable, found.equivalence_p) == ("reproduced", None, None)
    (found,) = answer([about(below, band=0.25, unit="power of T")], {})
    assert found.p == pytest.approx(2 * stats.t.sf(15, 4))
    assert found.verdict == "contradicted"


def test_what_waits_shows_no_p_of_any_kind() -> None:
    question = about(Difference(0.3, 0.1, 4, 5), cells=["a"], check_p=0.01)
    (found,) = answer([question], {"a": 2})
    assert (found.p, found.equivalence_p, found.verdict, found.question.check_p) == (None,) * 4
    assert found.effect is not None


def test_each_comparison_that_waits_counts() -> None:
    refuted = Difference(-float(stats.t.isf(0.005, 4)), 1.0, 4, 5)
    three = about(*[Difference(0.3, 0.1, 4, 5)] * 3, cells=["later"])
    early, _ = answer([about(refuted), three], {"later": 1})
    assert early.p == pytest.approx(4 * 0.01)


def test_what_waits_for_its_first_run_counts_as_the_largest_of_its_letter() -> None:
    refuted = Difference(-float(stats.t.isf(0.005, 4)), 1.0, 4, 5)
    three = about(*[Difference(0.3, 0.1, 4, 5)] * 3)
    early, *_ = answer(
        [about(refuted), three, about(cells=["later"], missing="no run")], {"later": 1}
    )
    assert early.p == pytest.approx(7 * 0.01)


def test_without_noise_in_every_comparison_nothing_is_said() -> None:
    refuted, noiseless = Difference(-1.0, 0.01, 4, 5), Difference(0.1, math.nan, 0, 5)
    (found,) = answer([about(refuted, noiseless)], {})
    assert (found.verdict, found.p) == (None, None)


def test_a_claim_rests_on_the_seeds_that_all_its_comparisons_have() -> None:
    binding, clear = Difference(0.1, 0.1, 4, 5), Difference(9.0, 0.1, 2, 3)
    (found,) = answer([about(binding, clear)], {})
    assert found.effect == binding.interval()
    assert found.n == 3
