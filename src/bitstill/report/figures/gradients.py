"""The ratio of the two gradient norms against T, for c = 1 and c = T^2, with theory's line."""

from collections.abc import Sequence

from bitstill.report.figures.figure import Figure, Row, Spec, channel, temperature_axis, where
from bitstill.report.gradients import GRID, Ratio, mean_over_seeds
from bitstill.report.published import TEMPERATURES, TWO_TERMS

_FACTORS = {"c = 1": 0, "c = T²": 2}


def gradient_figures(ratios: Sequence[Ratio]) -> list[Figure]:
    """Return the figure, or nothing if nothing was measured."""
    if not ratios:
        return []
    caption = (
        "Gradient norms with respect to the logits, over training images and at the logits of the "
        "students at T = 15: the tempered term times c, divided by the hard term. Dots: every seed "
        "at the published temperatures; lines: geometric mean over seeds; dashed: theory for large "
        "T, where with c = T² the ratio is constant for soft_hard and grows like T for "
        "gt_soft_hard."
    )
    title = "Does c = T² keep the ratio of the two gradients constant?"
    measured = {ratio.loss for ratio in ratios}  # for others, Vega would draw an infinite axis
    losses = [loss for loss in TWO_TERMS if loss in measured]
    return [Figure("gradients", title, caption, _rows(ratios, losses), _spec(losses))]


def _rows(ratios: Sequence[Ratio], losses: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for loss in losses:
        of_loss = [ratio for ratio in ratios if ratio.loss == loss]
        for factor, power in _FACTORS.items():
            for ratio in of_loss:
                rows += [
                    _row(loss, factor, "seed", ratio.seed, t, t**power * ratio.measured[t])
                    for t in TEMPERATURES
                ]
            for kind in ("measured", "limit"):
                rows += [
                    _row(loss, factor, kind, "", t, t**power * mean_over_seeds(of_loss, kind, t))
                    for t in GRID
                ]
    return rows


def _row(loss: str, factor: str, kind: str, seed: int | str, t: float, ratio: float) -> Row:
    return {"loss": loss, "factor": factor, "kind": kind, "seed": seed, "T": t, "ratio": ratio}


def _spec(losses: Sequence[str]) -> Spec:
    log = {"type": "log"}
    y_axis = {"format": ".1~r", "tickCount": 6}
    encoding = {
        "x": temperature_axis(),
        "y": channel("ratio", title="gradient norms, tempered / hard", scale=log, axis=y_axis),
        "color": channel("factor", "nominal", title=None),
        "tooltip": [
            *({"field": name} for name in ("factor", "T", "seed")),
            {"field": "ratio", "format": ".3g"},
        ],
    }
    marks = {
        "limit": {"type": "line", "strokeDash": [5, 4], "strokeWidth": 1.5},
        "measured": {"type": "line", "strokeWidth": 2.5},
        "seed": {"type": "point", "filled": True, "size": 35, "opacity": 0.8},
    }
    panels = [
        {
            "title": loss,
            "width": 320,
            "height": 260,
            "transform": [where("loss", loss)],
            "encoding": encoding,
            "layer": [
                {"transform": [where("kind", kind)], "mark": mark} for kind, mark in marks.items()
            ],
        }
        for loss in losses
    ]
    return {"hconcat": panels}
