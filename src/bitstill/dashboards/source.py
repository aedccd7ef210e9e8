"""What a dashboard shows: a sweep in a folder, or a wandb project."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bitstill.errors import UserError, printable
from bitstill.report.claims import primary_view
from bitstill.report.content import SetReport
from bitstill.report.progress import sweep_sets
from bitstill.report.sweeps import (
    LOSSES,
    PUBLISHED_VIEW,
    Run,
    View,
    losses_of,
    read_sweep,
    sweep_name,
)
from bitstill.report.table import Table, told_apart
from bitstill.report.tables import accuracy_tables
from bitstill.runs.composed import composed

TITLED = "bitstill: "  # how every title begins
_PROJECT = "bitstill"  # the default in conf/logger/wandb.yaml


@dataclass(frozen=True)
class Source:
    """What a dashboard needs to know about its runs.

    Attributes:
        entity: wandb's user or team; empty is the default of the user who saves.
        project: wandb's project.
        group: the sweep's name; empty is every sweep of the project.
        losses: those that get a section, in the order of the local report.
        has_teacher: whether there is a teacher's section.
        view: the accuracy that verdicts rest on.
        tables: those of the local report; empty for a project.
    """

    entity: str
    project: str
    group: str
    losses: Sequence[str]
    has_teacher: bool
    view: View
    tables: Sequence[Table]

    @property
    def filters(self) -> dict[str, str]:
        """The filter that finds its runs in the project."""
        return {"Group": self.group} if self.group else {}

    @property
    def title(self) -> str:
        """The title of its report and workspace."""
        return f"{TITLED}{self.group or self.project}"


def find_source(place: str, project: str | None = None) -> Source:
    """Return the source that a command line names.

    Args:
        place: a sweep's folder, or ``PROJECT`` or ``ENTITY/PROJECT``.
        project: the same, in place of the one that the sweep's runs name.

    Raises:
        UserError: it is neither, or the folder holds no runs.
    """
    folder = Path(place)
    if place and folder.is_dir():
        return _of_sweep(folder, project)
    first = place.partition("/")[0]
    if first in (".", "..", "~") or (first and Path(first).is_dir()):
        raise UserError(f"{place} is not a folder: give a sweep's, such as multirun/quick")
    entity, name = _split(place)
    # Every run logs its last epoch; some sweeps have no validation images to choose by.
    return Source(entity, name, "", LOSSES, True, PUBLISHED_VIEW._replace(selection="last"), ())


def _split(place: str) -> tuple[str, str]:
    parts = place.split("/")
    if len(parts) > 2 or not all(parts) or not place.isprintable():
        raise UserError(
            f"{place} is neither a folder nor a project: give a sweep's folder, such as "
            "multirun/quick, or PROJECT or ENTITY/PROJECT"
        )
    return ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])


def _of_sweep(folder: Path, project: str | None) -> Source:
    runs = read_sweep(folder)
    sets = sweep_sets(runs)
    entity, name = _split(project) if project else _logged_to(runs)
    tables = [(one.name, [SetReport(one).claims, *accuracy_tables(one)]) for one in sets]
    return Source(
        entity=entity,
        project=name,
        group=sweep_name(runs),
        losses=losses_of(runs),
        has_teacher=any(run.record.is_teacher for run in runs),
        view=primary_view(sets[0]),
        tables=[table for own in told_apart(tables) for table in own],
    )


def _logged_to(runs: Sequence[Run]) -> tuple[str, str]:
    """Return entity and project from Hydra's copy of the runs' configuration."""
    for run in runs:
        found = composed(run.paths, "logger.wandb")
        if isinstance(found, dict):
            entity, project = found.get("entity"), found.get("project")
            return printable(str(entity or "")), printable(str(project or _PROJECT))
    return "", _PROJECT
