"""``bitstill dashboard``: write a dashboard's specifications, or save them to wandb."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from bitstill.dashboards.source import TITLED, Source, find_source
from bitstill.errors import UserError, first_line
from bitstill.files import write_atomically
from bitstill.loggers.wandb_files import keep_wandb_quiet
from bitstill.reading import json_object, reading

_SAVED = "saved.json"  # ids of the last save, which the next one replaces
_SECONDS = 30  # that the server has to answer


def make_dashboard(place: str, *, project: str | None, output: Path | None, save: bool) -> str:
    """Make report and workspace of a sweep or project.

    Args:
        place: a sweep's folder, or a project.
        project: where the sweep's runs are, if not in the project that they were configured for.
        output: where files go; None is ``dashboard/`` in the sweep's or the current folder.
        save: whether to save both to the server, too.

    Returns:
        The written files and the addresses of what was saved, one per line.

    Raises:
        UserError: the place holds nothing, the output cannot be written or holds files that are
            not a dashboard's, or the server refuses.
    """
    keep_wandb_quiet()
    from bitstill.dashboards.specs import plain, report, workspace

    source = find_source(place, project)
    folder = output or (Path(place) if Path(place).is_dir() else Path()) / "dashboard"
    files = [folder / "report.json", folder / "workspace.json"]
    for file in files:
        title = str(json_object(file).get("displayName"))
        if file.exists() and not title.startswith(TITLED):
            raise UserError(
                f"--output: {file} is not of an earlier dashboard: remove it, or give another "
                "folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, spec in zip(files, (report(source), workspace(source)), strict=True):
            write_atomically(file, (json.dumps(plain(spec), indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(
            f"--output: {folder} cannot be written ({error.strerror}): give another folder"
        ) from error
    addresses = _save(source, folder / _SAVED) if save else []
    return "\n".join([*map(str, files), *addresses])


def _before(known: Path) -> dict[str, Any]:
    """Return the addresses of an earlier save; nothing if there was none."""
    if not known.exists():
        return {}
    with reading(known, "remove it, and both are saved anew"):
        before: dict[str, Any] = json.loads(known.read_bytes())
        _ = before["project"], before["report"], *before["workspace"]
        return before


def _save(source: Source, known: Path) -> list[str]:
    """Save both to the server, replacing an earlier save; return their addresses."""
    import wandb

    from bitstill.dashboards.specs import report, workspace

    before = _before(known)
    try:
        entity = source.entity or wandb.Api(timeout=_SECONDS).default_entity or ""
        source = dataclasses.replace(source, entity=entity)
        page, board = report(source, online=True), workspace(source)  # online asks the server
        if before.get("project") == [entity, source.project]:
            page.id = before["report"]
            board._internal_name, board._internal_id = before["workspace"]
        page.save()
        board.save()
    except Exception as error:  # wandb's errors have no common base
        raise UserError(
            f"--save: wandb does not take it ({first_line(error)}): see `wandb login` and "
            "WANDB_BASE_URL"
        ) from error
    ids = {
        "project": [entity, source.project],
        "report": page.id,
        "workspace": [board._internal_name, board._internal_id],
    }
    write_atomically(known, json.dumps(ids).encode())
    return [page.url, board.url]
