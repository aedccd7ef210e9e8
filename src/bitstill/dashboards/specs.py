"""A report and a workspace of wandb, as objects that can be written as JSON or saved."""

from collections.abc import Mapping
from typing import Any
from unicodedata import category

import wandb_workspaces.expr as expr
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from bitstill.dashboards.panels import sections, shared_sections
from bitstill.dashboards.source import Source
from bitstill.loggers.names import EPOCH, summary_name
from bitstill.report.sweeps import SELECTION_NAMES
from bitstill.report.table import to_markdown
from bitstill.report.tables import CAPTION


def _filters(keys: Mapping[str, str]) -> Any:
    """Return a filter for runs that match all keys; ``Group`` is wandb's own, the rest are ours."""
    parts = [
        (expr.Metric(key) if key == "Group" else expr.Config(key)) == value
        for key, value in keys.items()
    ]
    return expr.And(*parts) if parts else ""


def report(source: Source, *, online: bool = False) -> Any:
    """Return the report: the local one's tables, then a grid of charts for each section.

    Args:
        source: what the dashboard shows.
        online: ask the server for the project, which saving needs and writing a file does not.
    """
    blocks: list[Any] = [wr.TableOfContents()]
    if source.tables:
        blocks += [wr.H1("Tables"), wr.MarkdownBlock(CAPTION)]
        blocks += [wr.MarkdownBlock(to_markdown(table)) for table in source.tables]
    blocks.append(wr.H1("Charts"))
    place = {"entity": source.entity, "project": source.project} if online else {}
    for section in sections(source):
        runs = wr.Runset(name=section.title, filters=_filters(section.filters), **place)
        blocks += [wr.H2(section.title), wr.PanelGrid(runsets=[runs], panels=section.panels)]
    return wr.Report(
        entity=source.entity,
        project=source.project,
        title=source.title,
        description="Distillation into a quantized student: losses and temperatures, over seeds.",
        blocks=blocks,
        width="fluid",
    )


def workspace(source: Source) -> Any:
    """Return the workspace: the sections over all losses, with runs grouped by cell."""
    accuracies = [summary_name(selection, source.view.statistics) for selection in SELECTION_NAMES]
    return ws.Workspace(
        entity=source.entity,
        project=source.project,
        # wandb accepts no symbols in this name, not even the plus sign of "a+b".
        name="".join("-" if category(one)[0] == "S" else one for one in source.title),
        sections=[
            ws.Section(name=one.title, panels=one.panels, is_open=True)
            for one in shared_sections(source)
        ],
        settings=ws.WorkspaceSettings(x_axis=EPOCH, max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=_filters(source.filters),
            groupby=[expr.Config("cell")],
            pinned_columns=[f"summary:{name}" for name in accuracies],
        ),
    )


def plain(spec: Any) -> dict[str, Any]:
    """Return a report or a workspace as wandb's server stores it, without network."""
    found: dict[str, Any] = spec._to_model().model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    return found
