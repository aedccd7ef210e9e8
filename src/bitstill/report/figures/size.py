"""Size against accuracy: what quantization saves and costs."""

from collections.abc import Mapping
from statistics import fmean

from bitstill.report.figures.figure import Figure, Row, Spec, channel
from bitstill.report.published import HARD_TEMPERATURE
from bitstill.report.sizes import Sizes
from bitstill.report.sweeps import HARD, LOSSES, RunSet, View
from bitstill.runs.identity import TEACHER, cell_name

_KINDS = {"checkpoint": "checkpoint", "float32": "float32 weights", "deployed": "deployed"}
_MODELS = {
    TEACHER: "teacher",
    HARD: "student",
    cell_name("soft_hard", HARD_TEMPERATURE): "student",
}


def size_figures(runs: RunSet, view: View, sizes: Mapping[str, Sizes]) -> list[Figure]:
    """Return the figure, or nothing without both models."""
    rows = [
        row
        for cell, model in _MODELS.items()
        if model in sizes and runs.percents(cell, view)
        for row in _rows(runs, cell, view, model, sizes[model])
    ]
    if {row["model"] for row in rows} < {"teacher", "student"}:
        return []
    caption = (
        f"Mean test accuracy ({view.label} batch norm) against the three sizes of a model, in "
        "bytes, logarithmic. Students: hard and soft_hard at T = 15. Only the deployed size shows "
        "the effect of quantization."
    )
    spec = _spec([str(row["cell"]) for row in rows])
    return [Figure("size", "Size against accuracy", caption, rows, spec)]


def _rows(runs: RunSet, cell: str, view: View, model: str, sizes: Sizes) -> list[Row]:
    accuracy = fmean(runs.percents(cell, view).values())
    shared: Row = {"model": model, "cell": cell, "accuracy": accuracy}
    return [{**shared, "kind": label, "bytes": sizes[name]} for name, label in _KINDS.items()]


def _spec(shown: list[str]) -> Spec:
    domain = [*(cell_name(loss, HARD_TEMPERATURE) for loss in LOSSES), TEACHER]
    legend = {"values": [cell for cell in domain if cell in shown]}
    color = channel("cell", "nominal", title=None, scale={"domain": domain}, legend=legend)
    x_scale = {"type": "log", "nice": False, "padding": 30}
    axis = {"format": "~s", "values": [50e3, 100e3, 200e3, 500e3, 1e6, 2e6, 4e6]}
    y_scale = {"zero": False, "padding": 20}
    tooltip = [
        *({"field": name} for name in ("cell", "kind")),
        {"field": "bytes", "format": ","},
        {"field": "accuracy", "format": ".2f"},
    ]
    return {
        "width": 560,
        "height": 260,
        "encoding": {
            "x": channel("bytes", scale=x_scale, axis=axis),
            "y": channel("accuracy", title="test accuracy, %", scale=y_scale),
        },
        "layer": [
            {
                "mark": {"type": "line", "strokeDash": [3, 3], "strokeWidth": 1},
                "encoding": {"color": color},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 110},
                "encoding": {
                    "color": color,
                    "shape": channel("kind", "nominal", title="size of"),
                    "tooltip": tooltip,
                },
            },
        ],
    }
