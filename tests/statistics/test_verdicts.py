import pytest

from bitstill.statistics import verdict


@pytest.mark.parametrize(
    ("p_for", "p_against", "expected"),
    [
        (0.01, 1.0, "reproduced"),
        (0.049, 1.0, "reproduced"),
        (1.0, 0.01, "contradicted"),
        (1.0, 0.049, "contradicted"),
        (0.05, 0.05, "undecided"),
        (0.2, 0.9, "undecided"),
    ],
)
def test_a_verdict_needs_a_small_p(p_for: float, p_against: float, expected: str) -> None:
    assert verdict(p_for=p_for, p_against=p_against) == expected
