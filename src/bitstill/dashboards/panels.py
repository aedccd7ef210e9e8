"""The charts of a dashboard, the same in a report and in a workspace.

All keys that are named here are logged by :mod:`bitstill.loggers`.
"""

from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr

from bitstill.dashboards.source import Source
from bitstill.loggers.names import EPOCH, picture_name, summary_name
from bitstill.report import published
from bitstill.runs.curves import under

_PICTURES = ("confusion", "weight-levels", "weight-steps")
_WIDE, _HALF, _HIGH = 24, 12, 8  # in a grid of 24 columns


@dataclass(frozen=True)
class Section:
    """Panels under a title, and the runs that they show.

    Attributes:
        title: a line.
        filters: values by key, which is a top-level setting or ``Group``.
        panels: of wandb-workspaces.
    """

    title: str
    filters: dict[str, str]
    panels: list[Any]


def shared_sections(source: Source) -> list[Section]:
    """Return the sections over all losses; in a workspace, they share one set of runs."""
    students = {**source.filters, "model": "student"}
    return [
        Section("T x loss", students, _comparison_panels(source)),
        # No curves of the loss: losses differ by T^2 in size, so their mean is meaningless.
        Section("Curves by temperature", students, _accuracy_panels(source)),
        Section("Runs", source.filters, _run_panels()),
    ]


def sections(source: Source) -> list[Section]:
    """Return the sections of a report: one per table, then those over all losses."""
    found = []
    for loss in source.losses:
        filters = {**source.filters, "loss_name": loss, "model": "student"}
        curves = [*_accuracy_panels(source), _curves("train/loss", "temperature", top=2 * _HIGH)]
        found.append(Section(published.title(loss), filters, curves))
    if source.has_teacher:
        filters = {**source.filters, "model": "teacher"}
        found.append(Section("Teacher", filters, [_accuracy_curves(source, "seed")]))
    return found + shared_sections(source)


def _metric(source: Source) -> str:
    return summary_name(source.view.selection, source.view.statistics)


def _curves(metric: str, group: str, *, top: int) -> Any:
    """Return curves over the epochs: a group's mean, with a band of one standard deviation."""
    return wr.LinePlot(
        title=f"{metric}, by {group}: mean and standard deviation of its runs",
        x=EPOCH,
        y=[metric],
        title_x=EPOCH,
        groupby=wr.Config(group),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        smoothing_type="none",
        layout=wr.Layout(x=0, y=top, w=_HALF, h=_HIGH),
    )


def _accuracy_curves(source: Source, group: str, *, top: int = 0) -> Any:
    return _curves(under("test/accuracy", source.view.statistics), group, top=top)


def _bars(source: Source, group: str, *, left: int = 0) -> Any:
    return wr.BarPlot(
        title=f"test accuracy, by {group}",
        metrics=[wr.SummaryMetric(_metric(source))],
        orientation="v",
        title_x=f"test accuracy, fraction ({source.view.label} batch norm)",
        groupby=wr.Config(group),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        layout=wr.Layout(x=left, y=0, w=_HALF, h=_HIGH),
    )


def _accuracy_panels(source: Source) -> list[Any]:
    return [
        _accuracy_curves(source, "temperature"),
        _bars(source, "temperature", left=_HALF),
        wr.ScatterPlot(
            title="test accuracy over T, a dot a seed",
            x=wr.Config("temperature"),
            y=wr.SummaryMetric(_metric(source)),
            log_x=True,
            layout=wr.Layout(y=_HIGH, w=_HALF, h=_HIGH),
        ),
    ]


def _comparison_panels(source: Source) -> list[Any]:
    return [
        _bars(source, "cell"),
        _bars(source, "loss_name", left=_HALF),
        _accuracy_curves(source, "loss_name", top=_HIGH),
        wr.ParallelCoordinatesPlot(
            columns=[
                wr.ParallelCoordinatesPlotColumn(wr.Config("loss_name"), display_name="loss"),
                wr.ParallelCoordinatesPlotColumn(
                    wr.Config("temperature"), display_name="T", log=True
                ),
                wr.ParallelCoordinatesPlotColumn(
                    wr.SummaryMetric(_metric(source)), display_name="test accuracy"
                ),
            ],
            layout=wr.Layout(x=_HALF, y=_HIGH, w=_HALF, h=_HIGH),
        ),
    ]


def _run_panels() -> list[Any]:
    return [
        wr.RunComparer(diff_only="split", layout=wr.Layout(w=_WIDE, h=_HIGH)),
        wr.MediaBrowser(
            title="Confusion, weights and their levels",
            media_keys=[picture_name(name) for name in _PICTURES],
            layout=wr.Layout(y=_HIGH, w=_WIDE, h=_HIGH),
        ),
    ]
