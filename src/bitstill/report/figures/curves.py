"""Learning curves by temperature, for each loss: loss and accuracy in training, test accuracy."""

import math

from bitstill.report.figures.figure import (
    Figure,
    Row,
    Spec,
    channel,
    keyboard_filter,
    legend_filter,
    where,
)
from bitstill.report.sweeps import RunSet
from bitstill.runs.curves import under
from bitstill.runs.identity import TEACHER, temperature_name

_PANELS = {
    "loss": "training loss",
    "train": "training accuracy, %",
    "running": "test accuracy, %, running",
    "exact": "test accuracy, %, exact",
}
_COLUMNS = {
    "train": "train/accuracy",
    "running": "test/accuracy",
    "exact": under("test/accuracy", "precise"),
}
_FEW = 15  # at most this many epochs each get a tick


_USE = "Click on a temperature in the legend, or choose it in the list, to see it alone."


def curve_figures(runs: RunSet) -> list[Figure]:
    """Return one figure for each loss that has curves, and one for the teacher."""
    found = []
    for loss in (TEACHER, *runs.losses):
        rows = _rows(runs, loss)
        if any(row[name] is not None for row in rows for name in _PANELS):
            name, title = f"curves-{loss}", f"Learning curves: {loss}"
            use = "" if loss == TEACHER else _USE
            found.append(Figure(name, title, _caption(loss), rows, _spec(loss, rows), use=use))
    return found


def _caption(loss: str) -> str:
    what = "Teacher" if loss == TEACHER else f"Loss {loss}"
    return (
        f"{what}, after every epoch: loss (logarithmic) and accuracy on training images, in "
        "training mode and averaged over the epoch; accuracy on test images with running and with "
        "exact batch norm statistics. Thin: one run each; thick: the mean of the finished ones."
    )


def _rows(runs: RunSet, loss: str) -> list[Row]:
    """Return one row per epoch; older records lack the training accuracy."""
    cells = [TEACHER] if loss == TEACHER else runs.cells_of(loss)
    return [
        {
            "T": temperature_name(run.record.temperature),
            "seed": run.record.seed,
            "status": run.record.status,
            "epoch": int(row["epoch"]),
            "loss": row.get("train/loss"),
            **{
                name: round(100 * row[column], 3) if column in row else None
                for name, column in _COLUMNS.items()
            },
        }
        for cell in cells
        for run in runs.of(cell)
        for row in run.curves
    ]


def _spec(loss: str, rows: list[Row]) -> Spec:
    epochs = max(int(row["epoch"] or 0) for row in rows)
    ticks = {"values": list(range(1, epochs + 1))} if epochs <= _FEW else {}
    x = channel("epoch", title="epoch", axis={"format": "d", **ticks})
    temperatures = list(dict.fromkeys(str(row["T"]) for row in rows))
    shown, is_shown = keyboard_filter("T", "T", temperatures)
    colored = loss != TEACHER
    chosen = [{"filter": {"param": "legend_T"}}, is_shown] if colored else []
    color = {"color": channel("T", "ordinal", sort=None, title="T")} if colored else {}
    accuracies = [
        float(row[name] or 0) for row in rows for name in _COLUMNS if row[name] is not None
    ]
    # One scale for all accuracies, so that training and test compare at a glance.
    percent = {"domain": [math.floor(min(accuracies, default=0)), 100], "nice": True}

    # Vega would draw an infinite axis for a measure without data, or a mean of no finished run.
    measured = [name for name in _PANELS if any(row[name] is not None for row in rows)]
    finished = any(row["status"] == "done" for row in rows)

    def panel(field: str) -> Spec:
        scale = {"type": "log", "nice": False} if field == "loss" else percent
        y = channel(field, title=_PANELS[field], scale=scale)
        thin: Spec = {
            "mark": {"type": "line", "strokeWidth": 1, "strokeOpacity": 0.4, "point": epochs == 1},
            "encoding": {"x": x, "y": y, "detail": {"field": "seed"}, **color},
        }
        mean: Spec = {
            "transform": [where("status", "done"), *chosen],
            "mark": {"type": "line", "strokeWidth": 2.5, "point": epochs == 1},
            "encoding": {"x": x, "y": {**y, "aggregate": "mean"}, **color},
        }
        if colored:
            thin["transform"] = chosen
            if field == measured[0]:
                thin["params"] = [legend_filter("legend_T", "T")]
        return {"width": 370, "height": 220, "layer": [thin, mean] if finished else [thin]}

    return {
        **({"params": [shown]} if colored else {}),
        "concat": [panel(field) for field in measured],
        "columns": 2,
        "resolve": {"scale": {"color": "shared"}},
    }
