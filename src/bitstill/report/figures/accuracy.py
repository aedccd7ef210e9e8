"""Accuracy over temperature: every seed, mean, interval, and the published number."""

import math

from bitstill.report import published
from bitstill.report.far_out import fence
from bitstill.report.figures.figure import (
    Figure,
    Row,
    Spec,
    channel,
    keyboard_filter,
    legend_filter,
    where,
)
from bitstill.report.sweeps import LOSSES, PUBLISHED_VIEW, VIEWS, RunSet, View
from bitstill.runs.identity import TEACHER, temperature_name
from bitstill.statistics import mean_interval

_SEEDS = " seeds"  # suffix of a loss: the slot beside its mean, for its seeds
_COLUMNS = ("view", "kind", "loss", "T", "seed", "accuracy", "low", "high")


def accuracy_figures(runs: RunSet, first: View) -> list[Figure]:
    """Return the main figure, accuracy over temperature; nothing without a number.

    Args:
        runs: comparable runs.
        first: the accuracy that is drawn first; the others are in a list beside it.
    """
    views = [view for view in VIEWS if runs.measured(view)] or [PUBLISHED_VIEW]
    drawn = first if first in views else views[0]
    rows = [row for view in views for row in _rows(runs, view)]
    if not rows:
        return []
    caption = (
        "Test accuracy against temperature. Small dots: single runs, one per seed. Large dots and "
        "bars: mean and 95 % t interval over seeds, cut at the axis. Triangles with a number: runs "
        "below the axis. Open diamonds: the published numbers, each from one run on the published "
        "data, at its best epoch on the test set. Dashed line: our teacher. Shown first, and in "
        f"the picture files: {drawn.label} batch norm statistics"
        f"{', on which verdicts rest' if drawn == first else ''}."
    )
    use = "Click on a loss in the legend, or choose it in the list, to see it alone."
    title, spec = "Accuracy over temperature", _spec(rows, runs.losses, views, drawn)
    return [Figure("accuracy", title, caption, rows, spec, use=use)]


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
        label = temperature_name(temperature)
        for seed, value in values.items():
            rows.append(_row(view, "seed", loss, label, seed, value, None, None))
        bounded = math.isfinite(interval.low)
        limits = (interval.low, interval.high) if bounded else (None, None)
        rows.append(_row(view, "mean", loss, label, "", interval.estimate, *limits))
    return rows + _published(view, runs)


def _published(view: View, runs: RunSet) -> list[Row]:
    return [
        _row(view, "published", loss, f"{temperature:g}", "", accuracy, None, None)
        for loss, accuracies in published.ACCURACIES.items()
        for temperature, accuracy in accuracies.items()
        if loss in runs.losses
    ]


def _limits(rows: list[Row]) -> tuple[int, int]:
    """Return the limits of the axis, which leave out runs that did not learn."""
    shown = [float(row["accuracy"] or 0) for row in rows if row["kind"] != "mean"]
    seeds = [float(row["accuracy"] or 0) for row in rows if row["kind"] == "seed"] or shown
    limit = fence(seeds)
    return math.floor(min(one for one in shown if one >= limit)), math.ceil(max(shown))


def _spec(rows: list[Row], losses: list[str], views: list[View], first: View) -> Spec:
    lowest, highest = _limits(rows)
    temperatures = sorted({str(row["T"]) for row in rows if row["T"]}, key=float)
    domain = list(dict.fromkeys([*LOSSES, *losses]))  # a loss keeps its colour and place
    slots = [name for loss in domain for name in (loss, loss + _SEEDS, f"{loss} gap")]
    shown, is_shown = keyboard_filter("Loss", "loss", losses)
    scale = {"domain": temperatures}
    axis = {"domain": [lowest, highest], "clamp": True}
    encoding = {
        "x": channel("T", "ordinal", title="temperature T", scale=scale, axis={"labelAngle": 0}),
        "xOffset": {"field": "slot", "scale": {"domain": slots}},
        "y": channel("accuracy", title="test accuracy, %", scale=axis),
        "color": channel("loss", "nominal", title="loss", scale={"domain": domain}),
    }
    return {
        "width": 760,
        "height": 340,
        "params": [_view_list(views, first), shown],
        "transform": [
            {"filter": "datum.view == view"},
            {"calculate": f"datum.loss + (datum.kind == 'seed' ? '{_SEEDS}' : '')", "as": "slot"},
        ],
        "layer": _layers(encoding, f"datum.accuracy < {lowest}", is_shown),
    }


def _layers(encoding: Spec, below: str, is_shown: Spec) -> list[Spec]:
    """Return the layers from bottom to top; ``below`` is the test for runs below the axis."""
    shape = {"condition": {"test": below, "value": "triangle-down"}, "value": "circle"}
    tooltip = [{"field": name} for name in ("loss", "T", "seed", "accuracy", "low", "high")]

    def layer(kind: str, mark: Spec, **more: object) -> Spec:
        filters = [where("kind", kind), {"filter": {"param": "loss"}}, is_shown]
        return {"transform": filters, "mark": mark, "encoding": {**encoding, **more}}

    def number(kind: str, **place: object) -> Spec:
        text = channel("accuracy", format=".1f")
        stacked = {"expr": "8 - 12 * datum.place"}  # one above another for a cell's runs
        found = layer(kind, {"type": "text", "dy": stacked, **place}, text=text)
        ranks = [{"op": "row_number", "as": "place"}]
        found["transform"] += [{"filter": below}, {"window": ranks, "groupby": ["loss", "T"]}]
        return found

    small = {"type": "point", "filled": True, "size": 30, "opacity": 0.8}
    seeds = layer("seed", small, tooltip=tooltip[:4], shape=shape)
    seeds["params"] = [legend_filter("loss", "loss")]
    rule = {"type": "rule", "strokeWidth": 2}
    bar = layer("mean", rule, y=channel("low"), y2={"field": "high"})
    bar["transform"].append({"filter": "isValid(datum.low)"})  # a single seed has no interval
    teacher = {
        "transform": [where("kind", TEACHER)],
        "mark": {"type": "rule", "strokeDash": [6, 4]},
        "encoding": {
            "y": encoding["y"],
            "tooltip": {"field": "accuracy", "title": "teacher"},
        },
    }
    large = {**small, "size": 90, "opacity": 1}
    return [
        teacher,
        bar,
        seeds,
        layer("mean", large, tooltip=tooltip, shape=shape),
        layer(
            "published", {"type": "point", "style": "published"}, tooltip=tooltip[:4], color=None
        ),
        number("mean", align="right", dx=-8),
        number("seed", align="left", dx=8),
    ]


def _view_list(views: list[View], first: View) -> Spec:
    names = {str(view): f"{view.label} batch norm" for view in views}
    bind = {
        "input": "select",
        "name": "Accuracy at ",
        "options": list(names),
        "labels": list(names.values()),
    }
    return {"name": "view", "value": str(first), "bind": bind}
