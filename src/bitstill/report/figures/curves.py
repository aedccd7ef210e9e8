"""Learning curves by temperature, for each loss: training loss, and test accuracy."""

from bitstill.report.figures.figure import LOSSES, Figure, Row, Spec, keyboard_filter, legend_filter
from bitstill.report.sweeps import TEACHER, RunSet

_HOW = " Click on a temperature in the legend, or choose it in the list, to see it alone."
_FEW = 15  # epochs that each get a tick


def curve_figures(runs: RunSet) -> list[Figure]:
    """Return one figure for each loss that has curves, and one for the teacher."""
    found = []
    for loss in (TEACHER, *LOSSES):
        rows = _rows(runs, loss)
        if rows:
            what = "Teacher" if loss == TEACHER else f"Loss {loss}"
            caption = (
                f"{what}: loss on training images (left, logarithmic) and accuracy on test images "
                "(running and exact batch norm statistics) after every epoch. Thin: one run each; "
                "thick: their mean." + ("" if loss == TEACHER else _HOW)
            )
            title = f"Learning curves: {loss}"
            found.append(Figure(f"curves-{loss}", title, caption, rows, _spec(loss, rows)))
    return found


def _rows(runs: RunSet, loss: str) -> list[Row]:
    members = [
        run
        for run in runs.runs
        if (loss == TEACHER) == (run.record.model == TEACHER) and loss in (TEACHER, run.record.loss)
    ]

    def percent(row: dict[str, float], name: str) -> float | None:
        return round(100 * row[name], 3) if name in row else None

    return [
        {
            "T": "" if run.record.temperature is None else f"{run.record.temperature:g}",
            "seed": run.record.seed,
            "epoch": int(row["epoch"]),
            "loss": row.get("train/loss"),
            "running": percent(row, "test/accuracy"),
            "exact": percent(row, "test/accuracy_precise"),
        }
        for run in sorted(members, key=lambda run: (run.record.temperature or 0, run.record.seed))
        for row in run.curves
    ]


def _spec(loss: str, rows: list[Row]) -> Spec:
    epochs = max(int(row["epoch"] or 0) for row in rows)
    axis: Spec = {"format": "d"}
    if epochs <= _FEW:
        axis["values"] = list(range(1, epochs + 1))
    temperatures = list(dict.fromkeys(str(row["T"]) for row in rows))
    shown, is_shown = keyboard_filter("shown", "T", "T", temperatures)
    color: Spec = (
        {}
        if loss == TEACHER
        else {"color": {"field": "T", "type": "ordinal", "sort": None, "title": "T"}}
    )

    def panel(field: str, title: str, kind: str) -> Spec:
        y = {
            "field": field,
            "type": "quantitative",
            "title": title,
            "scale": {"type": "log", "nice": False} if kind == "log" else {"zero": False},
        }
        x = {"field": "epoch", "type": "quantitative", "title": "epoch", "axis": axis}
        thin: Spec = {
            "mark": {"type": "line", "strokeWidth": 1, "strokeOpacity": 0.4},
            "encoding": {"x": x, "y": y, "detail": {"field": "seed"}, **color},
        }
        mean: Spec = {
            "mark": {"type": "line", "strokeWidth": 2.5},
            "encoding": {"x": x, "y": {**y, "aggregate": "mean"}, **color},
        }
        layers = [thin, mean]
        if color:
            for one in layers:
                one["transform"] = [{"filter": {"param": "legend_T"}}, is_shown]
            if field == "loss":
                thin["params"] = [legend_filter("legend_T", "T")]
        return {"width": 240, "height": 230, "layer": layers}

    return {
        **({"params": [shown]} if color else {}),
        "hconcat": [
            panel("loss", "training loss", "log"),
            panel("running", "test accuracy, %, running", "linear"),
            panel("exact", "test accuracy, %, exact", "linear"),
        ],
        "resolve": {"scale": {"color": "shared"}},
    }
