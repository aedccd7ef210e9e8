"""Fills a report's tables and figures into a user's own Markdown page."""

import re
from pathlib import Path
from urllib.parse import quote

from bitstill.errors import UserError, nearest
from bitstill.files import write_atomically
from bitstill.report.claim_tables import count_verdicts
from bitstill.report.content import Report, SetReport
from bitstill.report.cost import official_table
from bitstill.report.figures.figure import Figure, to_svg
from bitstill.report.progress import progress_table
from bitstill.report.table import encoded, to_markdown
from bitstill.report.variants import variants_table

_LATER = "open"  # the only place that shows later sweeps
_FIGURE = "figure-"
NAMES = (
    *("progress", "verdicts", "claims", "tests", "robustness", "far-out"),
    *("temperatures", "baseline", "table1", "table2", "table3", "table4"),
    *("sizes", "noise", "noise-seeds", "seeds", "cost", "official", _LATER),
    *(_FIGURE + name for name in ("accuracy", "claims", "gradients")),
)
_PLACE = re.compile(r"(<!-- report: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def fill_page(path: Path, report: Report) -> None:
    """Write a report's tables and figures between the marks of a Markdown page.

    The place ``open`` shows what later sweeps change compared with the first. Figures are files
    beside the page, ``<page>-<figure>.svg``.

    Raises:
        UserError: the page cannot be read or written, has no places, or one with an unknown name.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe or device may never end
            raise UserError(f"--fill: {path} is not a file: give a Markdown page")
        text = filled(path.read_text(encoding="utf-8"), report, stem=path.stem)
        for figure in _figures(report.sets[0]):
            file = _file(path.stem, figure)
            if f"]({quote(file)})" in text:
                write_atomically(path.with_name(file), to_svg(figure).encode())
        write_atomically(path, encoded(text))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--fill: {path} cannot be filled ({error}): give another page") from error


def filled(text: str, report: Report, *, stem: str = "page") -> str:
    """Return a page's text with the content between its marks replaced.

    Args:
        text: that of the page.
        report: the source of the content.
        stem: how the names of the figures' files begin.
    """
    places = [(found[2], found[3]) for found in _PLACE.finditer(text)]
    if unknown := [name for name, _ in places if name not in NAMES]:
        raise UserError(
            f"--fill: the page asks for {unknown[0]}{nearest(unknown[0], NAMES)}; there are "
            + ", ".join(NAMES)
        )
    if not places:
        raise UserError(
            "--fill: the page has no place for anything: give it '<!-- report: table1 -->' on a "
            "line, and below it '<!-- end -->'"
        )
    for name, body in places:
        if "<!-- report:" in body:
            raise UserError(f"--fill: the place of {name} has no end: give it '<!-- end -->'")
    parts = _parts(report.sets[0], stem) | _open(report)

    def place(found: re.Match[str]) -> str:
        part = parts.get(found[2])
        return found[0] if part is None else f"{found[1]}\n{part}\n{found[4]}"

    return _PLACE.sub(place, text)


def _parts(one: SetReport, stem: str) -> dict[str, str]:
    """Return everything that a page may ask for, as Markdown, by name."""
    more = [progress_table(one.runs.folder), official_table(one.runs)]
    found = {table.name: to_markdown(table) for table in [*one.tables, *more]}
    found["verdicts"] = count_verdicts(one.main_findings) + "\n"
    found["far-out"] = (one.far_out or "No student is far below all others.") + "\n"
    for figure in _figures(one):
        picture = f"![{figure.title}]({quote(_file(stem, figure))})"
        found[_FIGURE + figure.name] = f"{picture}\n\n{figure.caption}\n"
    here = [name for name in NAMES if name != _LATER]
    return dict.fromkeys(here, "There is nothing to show yet.\n") | found


def _figures(one: SetReport) -> list[Figure]:
    """Return the figures that a page may ask for."""
    return [figure for figure in one.figures if _FIGURE + figure.name in NAMES]


def _file(stem: str, figure: Figure) -> str:
    return f"{stem}-{figure.name}.svg"


def _open(report: Report) -> dict[str, str]:
    """Return the table of changed settings; without later sweeps, the page keeps what it has."""
    later = report.folders[1:]
    changed = [one.runs for one in report.sets if one.runs.folder in later]
    if not changed:
        return {}
    title = "; ".join(progress_table(folder).title for folder in later)
    study = report.sets[0].runs
    return {_LATER: to_markdown(variants_table(study, changed, title=title))}
