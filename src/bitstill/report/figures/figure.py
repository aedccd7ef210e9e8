"""A figure: its rows, and how Vega-Lite draws them; colours for light and dark."""

import csv
import functools
import io
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from bitstill.errors import UserError

Row = Mapping[str, str | float | int | None]
Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # an identifier that is never fetched
_PNG_SCALE = 1.5  # sharp enough for slides; for print there is the SVG
# Address space, not memory, that V8 reserves at startup; if it cannot, it aborts the process.
_RESERVED = 66 * 2**30


@dataclass(frozen=True)
class Figure:
    """One figure of the report.

    Attributes:
        name: a file's name without its ending.
        title: a line.
        caption: what the figure shows, and how that was measured; screen readers read it, too.
        use: what a reader can do with it where it is interactive.
        rows: the data, also written as CSV; every row has the same columns.
        spec: Vega-Lite without data and without colours.
        drawing: an SVG in place of ``spec``, for a figure that is not a chart.
    """

    name: str
    title: str
    caption: str
    rows: Sequence[Row] = ()
    spec: Spec | None = None
    drawing: str = ""
    use: str = ""


def to_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV, with floats to six significant digits and None as an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {name: f"{v:.6g}" if isinstance(v, float) else v for name, v in row.items()}
        )
    return text.getvalue()


def with_data(figure: Figure) -> Spec:
    """Return the specification with its rows inside, as CSV: a third of the size of JSON."""
    assert figure.spec is not None  # noqa: S101  # a drawing has no data
    data = {"values": to_csv(figure.rows), "format": {"type": "csv"}}
    return {"$schema": SCHEMA, "description": figure.caption, "data": data, **figure.spec}


@functools.cache
def _renderer() -> Any:
    """Return the V8 runtime for Vega.

    Raises:
        UserError: a limit forbids the process that much address space.
    """
    try:
        mmap.mmap(-1, _RESERVED, mmap.MAP_PRIVATE, 0).close()  # PROT_NONE takes no memory
    except OSError as error:
        raise UserError(
            f"figures cannot be drawn ({error.strerror}): that takes 66 GiB of addresses, though "
            "little memory, and a limit forbids it: do it where ulimit -v says unlimited"
        ) from error
    import vl_convert

    return vl_convert


def to_svg(figure: Figure) -> str:
    """Draw a figure in light colours on white."""
    if figure.spec is None:
        return figure.drawing
    config = {**theme(dark=False), "background": "white"}
    return str(_renderer().vegalite_to_svg(with_data(figure), config=config))


def to_png(svg: str) -> bytes:
    """Return a drawing as PNG."""
    return bytes(_renderer().svg_to_png(svg, scale=_PNG_SCALE))


def to_image(figure: Figure) -> Image.Image:
    """Draw a figure as pixels, for loggers."""
    return Image.open(io.BytesIO(to_png(to_svg(figure))))


def channel(field: str, kind: str = "quantitative", **more: Any) -> Spec:
    """Return the Vega-Lite channel of a field; ``more`` holds its title, scale and so on."""
    return {"field": field, "type": kind, **more}


def temperature_axis() -> Spec:
    """Return the channel of T as a number, on a logarithmic scale."""
    ticks = {"values": [1, 2, 5, 10, 15, 50, 100, 200]}
    return channel("T", title="temperature T", scale={"type": "log", "nice": False}, axis=ticks)


def where(field: str, value: str) -> Spec:
    """Return the transform that keeps the rows whose field has a value."""
    return {"filter": f"datum.{field} == '{value}'"}


def keyboard_filter(label: str, field: str, values: Sequence[str]) -> tuple[Spec, Spec]:
    """Return a drop-down list that shows one value of ``field`` alone, and the filter with it.

    It does what a click in the legend does, for those who do not use a mouse.
    """
    options = ["all", *values]
    bind = {"input": "select", "name": f"{label} ", "options": options}
    parameter = {"name": "shown", "value": "all", "bind": bind}
    return parameter, {"filter": f"shown == 'all' || datum.{field} == shown"}


def legend_filter(name: str, field: str) -> Spec:
    """Return the selection by clicks in the legend of ``field``; filters refer to its name."""
    return {"name": name, "select": {"type": "point", "fields": [field]}, "bind": "legend"}


# By whether the page is dark. People with colour blindness can tell the colours apart.
_TEXT = {True: "#e6e6e6", False: "#1f2328"}
_GRID = {True: "#3a3f47", False: "#e4e7eb"}
_LOSSES = {  # in the order of the losses, then the teacher
    True: ["#b8bec8", "#56b4e9", "#f0a33a", "#4fd1a5", "#e58bcb"],
    False: ["#6b7280", "#0072b2", "#c85200", "#00825f", "#a03a8c"],
}
_TEMPERATURES = {
    True: ["#d9b8ff", "#ff8f6b", "#3d9be0", "#7ddb8a", "#ff86c3", "#e3c94b", "#4dd0d6", "#aab2bf"],
    False: ["#6f3fb5", "#c2410c", "#1f6fb2", "#2f7d3b", "#a8236b", "#7a6a00", "#0f7b83", "#4b5563"],
}
_VERDICTS = {  # no verdict, undecided, contradicted, reproduced, as in page.css
    True: ["#a5adb8", "#f3cf79", "#ffab9f", "#7fe0aa"],
    False: ["#59636e", "#7a5200", "#b3261e", "#0a6b3d"],
}
_LINE = "#8a8f98"


def theme(*, dark: bool) -> Spec:
    """Return the Vega-Lite ``config`` of a light or a dark page."""
    text, losses = _TEXT[dark], _LOSSES[dark]
    return {
        "background": None,
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": {
            "labelColor": text,
            "titleColor": text,
            "gridColor": _GRID[dark],
            "domainColor": _LINE,
            "tickColor": _LINE,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
        },
        "legend": {
            "labelColor": text,
            "titleColor": text,
            "labelFontSize": 12,
            "symbolSize": 90,
            "symbolBaseFillColor": _LINE,
            "symbolBaseStrokeColor": _LINE,
        },
        "header": {"labelColor": text, "titleColor": text, "labelFontSize": 12},
        "title": {"color": text, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
        "text": {"color": text},
        "rule": {"color": _LINE},
        "bar": {"color": losses[1]},
        "point": {"opacity": 1},
        "style": {"published": {"shape": "diamond", "size": 130, "color": text}},
        "range": {
            "category": losses,
            "ordinal": _TEMPERATURES[dark],
            "verdict": _VERDICTS[dark],
        },
    }
