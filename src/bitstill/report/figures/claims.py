"""The claims as a forest plot: effect, interval, published effect, verdict."""

import math
from collections.abc import Sequence
from statistics import median
from typing import get_args

from bitstill.report.claim_tables import NO_VERDICT, statement
from bitstill.report.figures.figure import Figure, Row, Spec, channel
from bitstill.report.findings import Finding
from bitstill.statistics import Verdict

_WIDTH = 400


def claim_figures(findings: Sequence[Finding]) -> list[Figure]:
    """Return the figure of all claims that are measured in points of accuracy."""
    rows: list[Row] = []
    for finding in findings:
        if finding.effect is not None and finding.question.unit == "points":
            estimate, low, high = finding.effect
            bounded = math.isfinite(low)
            rows.append(
                {
                    "claim": statement(finding),
                    "effect": estimate,
                    "low": low if bounded else None,
                    "high": high if bounded else None,
                    "published": finding.question.published,
                    "verdict": finding.verdict or NO_VERDICT,
                }
            )
    if not rows:
        return []
    caption = (
        "For each claim about accuracy: the deciding effect (in points; right of zero as claimed), "
        "its 95 % t interval if there are several seeds (uncorrected, unlike the verdicts), the "
        "published effect (diamond), and the verdict. Intervals far wider than the others are cut "
        "at the edge, with a triangle."
    )
    limit = _limit(rows)
    spec = _spec(bounded=any(row["low"] is not None for row in rows), limit=limit)
    return [Figure("claims", "The claims at a glance", caption, rows, spec)]


def _limit(rows: Sequence[Row]) -> float:
    """Return the limit of the axis: it shows all effects, but cuts far too wide intervals."""
    numbers = [[row[name] for name in ("effect", "published", "low", "high")] for row in rows]
    sizes = [[abs(one) for one in of_row if isinstance(one, float)] for of_row in numbers]
    effects = max(max(one[:2]) for one in sizes)
    widest = [max(one) for one in sizes]
    limit = 1.05 * max(effects, min(max(widest), 4 * median(widest)))
    step = 10 ** math.floor(math.log10(limit)) / 2 if limit else 1.0
    return step * math.ceil(limit / step)


def _spec(*, bounded: bool, limit: float) -> Spec:
    scale = {"domain": [-limit, limit], "nice": False}
    few = {"tickCount": 5}  # with more, only every other one has a number, perhaps not zero
    x = channel("effect", title="points of test accuracy", scale=scale, axis=few)
    verdicts = {"domain": [NO_VERDICT, *reversed(get_args(Verdict))], "range": "verdict"}
    color = channel("verdict", "nominal", legend=None, scale=verdicts)
    numbers = ("effect", "low", "high", "published")
    tooltip = [{"field": name, "format": ".2f"} for name in numbers] + [{"field": "verdict"}]
    intervals = {
        "mark": {"type": "rule", "strokeWidth": 2, "clip": True},
        "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": color},
    }
    axis = {"labelLimit": 420}
    return {
        "width": _WIDTH,
        "height": {"step": 26},
        "encoding": {"y": channel("claim", "nominal", sort=None, title=None, axis=axis)},
        "layer": [
            {
                "data": {"values": [{}]},  # one line, not one per claim
                "mark": {"type": "rule", "strokeDash": [4, 4], "aria": False},
                "encoding": {"x": {"datum": 0}, "y": None},
            },
            *([intervals, *_beyond(limit, color)] if bounded else []),
            {
                "mark": {"type": "point", "filled": True, "size": 90},
                "encoding": {"x": x, "color": color, "tooltip": tooltip},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 12},
                "encoding": {"x": {"value": _WIDTH}, "text": {"field": "verdict"}, "color": color},
            },
            {
                "mark": {"type": "point", "style": "published"},
                "encoding": {"x": {**x, "field": "published"}, "tooltip": tooltip},
            },
        ],
    }


def _beyond(limit: float, color: Spec) -> list[Spec]:
    """Return the triangles at the edges where intervals are cut."""
    ends = (("low", -limit, "<", "triangle-left"), ("high", limit, ">", "triangle-right"))
    return [
        {
            # No aria: an interval itself tells a screen reader where it ends.
            "transform": [{"filter": f"datum.{name} {beyond} {end}"}],
            "mark": {"type": "point", "shape": shape, "filled": True, "size": 60, "aria": False},
            "encoding": {"x": {"datum": end}, "color": color},
        }
        for name, end, beyond, shape in ends
    ]
