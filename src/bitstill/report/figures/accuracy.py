"""Accuracy over temperature: every seed, mean, interval, and the published number."""

import math

from bitstill.report import published
from bitstill.report.figures.figure import LOSSES, Figure, Row, Spec, keyboard_filter, legend_filter
from bitstill.report.sweeps import (
    PUBLISHED_VIEW,
    SELECTIONS,
    STATISTICS,
    TEACHER,
    VIEWS,
    RunSet,
    View,
)
from bitstill.statistics import mean_interval

_SEEDS = " seeds"  # behind a loss: the place beside its mean, where its seeds stand
_COLUMNS = ("view", "kind", "loss", "T", "seed", "accuracy", "low", "high")


def accuracy_figure(runs: RunSet) -> Figure:
    """Return the figure that answers most questions at a glance."""
    rows = [row for view in VIEWS for row in _rows(runs, view)]
    caption = (
        "Test accuracy against temperature. Small dots: one run each, a seed. Large dots and bars: "
        "mean and 95 % t interval over seeds, cut at 0 and 100. Open diamonds: the published "
        "numbers, one run, best epoch on the test set. Dashed line: our teacher. Click on a loss "
        "in the legend, or choose it in the list, to see it alone."
    )
    return Figure("accuracy", "Accuracy over temperature", caption, rows, _spec(rows))


def _row(view: View, kind: str, *values: object) -> Row:
    return dict(zip(_COLUMNS, (str(view), kind, *values), strict=True))  # type: ignore[arg-type]


def _rows(runs: RunSet, view: View) -> list[Row]:
    rows = []
    for cell in runs.cells:
        first = runs.of(cell)[0].record
        loss, temperature = first.loss, first.temperature
        values = runs.percents(cell, view)
        if not values:
            continue
        interval = mean_interval(list(values.values()))
        if cell == TEACHER:
            rows.append(_row(view, TEACHER, "", "", "", interval.estimate, None, None))
            continue
        label = f"{temperature:g}"
        for seed, value in values.items():
            rows.append(_row(view, "seed", loss, label, seed, value, None, None))
        bounded = math.isfinite(interval.low)
        limits = (max(0.0, interval.low), min(100.0, interval.high)) if bounded else (None, None)
        rows.append(_row(view, "mean", loss, label, "", interval.estimate, *limits))
    return rows + _published(view, runs)


def _published(view: View, runs: RunSet) -> list[Row]:
    losses = {run.record.loss for run in runs.runs if run.record.model != TEACHER}
    known = [
        (loss, temperature, accuracy)
        for loss, accuracies in published.DISTILLED.items()
        for temperature, accuracy in zip(published.TEMPERATURES, accuracies, strict=True)
    ] + [("hard", published.HARD_TEMPERATURE, published.HARD_ACCURACY)]
    return [
        _row(view, "published", loss, f"{temperature:g}", "", accuracy, None, None)
        for loss, temperature, accuracy in known
        if loss in losses
    ]


def _spec(rows: list[Row]) -> Spec:
    temperatures = sorted({str(row["T"]) for row in rows if row["T"]}, key=float)
    names = {
        str(view): f"{SELECTIONS[view.selection]}, {STATISTICS[view.statistics]} batch norm"
        for view in VIEWS
    }
    slots = [name for loss in LOSSES for name in (loss, loss + _SEEDS, f"{loss} gap")]
    losses = [loss for loss in LOSSES if any(row["loss"] == loss for row in rows)]
    shown, is_shown = keyboard_filter("shown", "Loss", "loss", losses)
    encoding = {
        "x": {
            "field": "T",
            "type": "ordinal",
            "title": "temperature T",
            "scale": {"domain": temperatures},
            "axis": {"labelAngle": 0},
        },
        "xOffset": {"field": "slot", "scale": {"domain": slots}},
        "y": {
            "field": "accuracy",
            "type": "quantitative",
            "title": "test accuracy, %",
            "scale": {"zero": False},
        },
        "color": {
            "field": "loss",
            "type": "nominal",
            "title": "loss",
            "scale": {"domain": list(LOSSES)},
        },
    }
    tooltip = [{"field": name} for name in ("loss", "T", "seed", "accuracy", "low", "high")]

    def layer(kind: str, mark: Spec, **more: object) -> Spec:
        filters = [{"filter": f"datum.kind == '{kind}'"}, {"filter": {"param": "loss"}}, is_shown]
        return {"transform": filters, "mark": mark, "encoding": {**encoding, **more}}

    low = {"field": "low", "type": "quantitative"}
    seeds = layer(
        "seed", {"type": "point", "filled": True, "size": 30, "opacity": 0.7}, tooltip=tooltip[:4]
    )
    seeds["params"] = [legend_filter("loss", "loss")]
    # Without a single interval, Vega would make the axis infinite.
    bounded = any(row["low"] is not None for row in rows)
    bar = layer("mean", {"type": "rule", "strokeWidth": 2}, y=low, y2={"field": "high"})
    intervals = [bar] if bounded else []
    teacher = {
        "transform": [{"filter": "datum.kind == 'teacher'"}],
        "mark": {"type": "rule", "strokeDash": [6, 4]},
        "encoding": {"y": encoding["y"], "tooltip": {"field": "accuracy", "title": "teacher"}},
    }
    return {
        "width": 760,
        "height": 340,
        "params": [
            {
                "name": "view",
                "value": str(PUBLISHED_VIEW),
                "bind": {
                    "input": "select",
                    "name": "Accuracy at ",
                    "options": list(names),
                    "labels": list(names.values()),
                },
            },
            shown,
        ],
        "transform": [
            {"filter": "datum.view == view"},
            {"calculate": f"datum.loss + (datum.kind == 'seed' ? '{_SEEDS}' : '')", "as": "slot"},
        ],
        "layer": [
            teacher,
            *intervals,
            seeds,
            layer("mean", {"type": "point", "filled": True, "size": 90}, tooltip=tooltip),
            layer(
                "published", {"type": "point", "shape": "diamond", "size": 90}, tooltip=tooltip[:4]
            ),
        ],
    }
