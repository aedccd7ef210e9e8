"""The claims at a glance."""

import re

from bitstill.report.figures.claims import claim_figures
from bitstill.report.figures.figure import to_svg
from bitstill.report.findings import Finding, Question
from bitstill.statistics import Interval


def finding(low: float, high: float) -> Finding:
    name = f"from {low} to {high}"
    return Finding(Question("a", name, "t", published=0.5), Interval((low + high) / 2, low, high))


def test_zero_is_a_dashed_line_over_all_claims() -> None:
    [figure] = claim_figures([finding(-1, 2), finding(0, 1)])
    [length] = re.findall(r'<line [^>]*y2="(-?\d+)"[^>]*stroke-dasharray', to_svg(figure))
    assert abs(int(length)) == 52  # two claims of 26


def test_a_wide_interval_runs_out_of_the_picture() -> None:
    [figure] = claim_figures([*[finding(-1, 1.5)] * 4, finding(-450, 390)])
    assert figure.spec is not None
    [low, high] = figure.spec["layer"][-1]["encoding"]["x"]["scale"]["domain"]
    assert -low == high == 35, "its effect, -30, is still there"
    svg = to_svg(figure)
    assert re.findall(r">\D?(\d+)</text>", svg) == ["30", "20", "10", "0", "10", "20", "30"]
    places = re.findall(r"<path [^>]*translate\(([\d.]+),", svg)
    assert {"0", "400"} <= {*places}, "a triangle at each end"


def test_marks_without_a_name_are_hidden_from_screen_readers() -> None:
    """Vega names a mark after its row, and those at a fixed place have none."""
    [figure] = claim_figures([finding(-1, 2)])
    assert figure.spec is not None
    fixed = [one for one in figure.spec["layer"] if "datum" in one["encoding"].get("x", {})]
    assert len(fixed) == 3, "zero, and the triangles at either edge"
    assert all(one["mark"]["aria"] is False for one in fixed)


def test_effects_of_none_have_an_axis() -> None:
    [figure] = claim_figures([Finding(Question("a", "", "t"), Interval(0.0, 0.0, 0.0))])
    assert "NaN" not in to_svg(figure)
