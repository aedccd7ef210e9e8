"""Size against accuracy: what quantization saves, and what it costs."""

from collections.abc import Mapping

from bitstill.report.figures.figure import LOSSES, Figure, Row, Spec
from bitstill.report.published import HARD_TEMPERATURE, TEMPERATURES
from bitstill.report.sizes import Sizes
from bitstill.report.sweeps import SELECTIONS, STATISTICS, TEACHER, RunSet, View, cell_name
from bitstill.statistics import mean_interval

_KINDS = {"checkpoint": "checkpoint", "float32": "float32 weights", "deployed": "deployed"}


def size_figures(runs: RunSet, view: View, sizes: Mapping[str, Sizes]) -> list[Figure]:
    """Return the figure, or nothing without both models."""
    rows = [
        row
        for cell, model in _cells(runs).items()
        if model in sizes and runs.percents(cell, view)
        for row in _rows(runs, cell, view, sizes[model])
    ]
    if {row["model"] for row in rows} < {"teacher", "student"}:
        return []
    caption = (
        f"Mean test accuracy ({SELECTIONS[view.selection]}, {STATISTICS[view.statistics]} batch "
        "norm) against the three sizes of a model, in bytes, logarithmic. Students: hard and "
        "soft_hard at T = 15. Only the deployed size shows what quantization saves."
    )
    spec = _spec([str(row["cell"]) for row in rows])
    return [Figure("size", "Size against accuracy", caption, rows, spec)]


def _cells(runs: RunSet) -> dict[str, str]:
    hard = cell_name("hard", HARD_TEMPERATURE)
    distilled = cell_name("soft_hard", TEMPERATURES[1])
    return {TEACHER: "teacher", hard: "student", distilled: "student"}


def _rows(runs: RunSet, cell: str, view: View, sizes: Sizes) -> list[Row]:
    accuracy = mean_interval(list(runs.percents(cell, view).values())).estimate
    model = "teacher" if cell == TEACHER else "student"
    return [
        {
            "model": model,
            "cell": cell,
            "kind": label,
            "bytes": getattr(sizes, name),
            "accuracy": accuracy,
        }
        for name, label in _KINDS.items()
    ]


def _spec(shown: list[str]) -> Spec:
    domain = [*(cell_name(loss, HARD_TEMPERATURE) for loss in LOSSES), TEACHER]
    color = {
        "field": "cell",
        "type": "nominal",
        "title": None,
        "scale": {"domain": domain},
        "legend": {"values": [cell for cell in domain if cell in shown]},
    }
    encoding = {
        "x": {
            "field": "bytes",
            "type": "quantitative",
            "scale": {"type": "log", "nice": False, "padding": 30},
            "axis": {"format": "~s", "values": [50e3, 100e3, 200e3, 500e3, 1e6, 2e6, 4e6]},
        },
        "y": {
            "field": "accuracy",
            "type": "quantitative",
            "title": "test accuracy, %",
            "scale": {"zero": False, "padding": 20},
        },
    }
    return {
        "width": 560,
        "height": 260,
        "encoding": encoding,
        "layer": [
            {
                "mark": {"type": "line", "strokeDash": [3, 3], "strokeWidth": 1},
                "encoding": {"color": color},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 110},
                "encoding": {
                    "color": color,
                    "shape": {"field": "kind", "type": "nominal", "title": "size of"},
                    "tooltip": [
                        {"field": "cell"},
                        {"field": "kind"},
                        {"field": "bytes", "format": ","},
                        {"field": "accuracy", "format": ".2f"},
                    ],
                },
            },
        ],
    }
