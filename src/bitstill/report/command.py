"""``bitstill report``: reads sweeps, prints tables and writes the report's files."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

from bitstill.errors import UserError
from bitstill.files import write_atomically
from bitstill.reading import json_object
from bitstill.report.content import Report, build
from bitstill.report.figures.figure import Figure, to_csv, to_png, to_svg
from bitstill.report.fill import fill_page
from bitstill.report.overview import overview_table, summary
from bitstill.report.table import (
    Table,
    encoded,
    in_encoding,
    output_console,
    print_set_name,
    to_latex,
    to_markdown,
    to_rich,
    told_apart,
)
from bitstill.report.tables import CAPTION, DETAILS

_NUMBERS, _RUNS, _PAGE = "report.json", "runs.csv", "index.html"
_ON_SEVERAL = re.compile(r"(sets|comparison-\d+)\.(md|tex)")  # tables on several sets


def run_report(folders: Sequence[Path], output: Path | None, fill: Path | None = None) -> None:
    """Report on sweeps in the terminal and in files.

    Args:
        folders: folders of sweeps; the first sweep is compared with the others.
        output: where files go; None is ``report/`` in the first folder.
        fill: a Markdown page with places for tables, or None.

    Raises:
        UserError: a folder holds no runs, the output cannot be written or holds what no report
            has written, or the page cannot be filled.
    """
    output = folders[0] / "report" if output is None else output
    _see_that_it_may_be_replaced(output)
    with _sign_of_life():
        report = build(folders)
        if fill is not None:
            fill_page(fill, report)
        files = _rendered(report, output)
        try:  # written before anything is printed: a reader such as head may end the process
            _write(files, output)
        except OSError as error:
            raise UserError(
                f"--output: {output} cannot be written ({error}): give another folder"
            ) from error
    console = output_console()
    first, count = report.sets[0].runs.name, len(report.sets)
    if fill is not None and count > 1:
        line = f"{fill} shows {first}, the first of {count} sets"
        console.print(line, highlight=False, markup=False)
    show(report, console)
    page = (output / _PAGE).resolve()
    console.print(f"\nPage: {page}", soft_wrap=True, highlight=False, markup=False)


def _sign_of_life() -> Live:
    """Return a spinner for a terminal while there is nothing to read."""
    return Live(
        Spinner("line", "reporting"),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # or it would go to standard error
        redirect_stderr=False,  # or a bar's every step would be a line, and long lines be broken
    )


def _see_that_it_may_be_replaced(output: Path) -> None:
    """Refuse a folder with a page or numbers that no report has written."""
    there = [path for name in (_NUMBERS, _RUNS, _PAGE) if (path := output / name).exists()]
    if there and "sets" not in json_object(output / _NUMBERS):
        raise UserError(
            f"--output: {there[0]} is not of an earlier report: remove it, or give another folder"
        )


def show(report: Report, console: Console) -> None:
    """Print the tables of a report."""
    for one in report.sets:
        if len(report.sets) > 1:
            print_set_name(console, one.runs.name)
        for table in one.tables:
            if table.name not in DETAILS:
                _show_table(console, table)
        _say(console, one.far_out)
        _say(console, one.left_out_text, style="dim")
    for table in report.comparison_tables:
        _show_table(console, table)
    _say(console, report.not_compared)
    console.print(in_encoding(CAPTION, console.encoding), style="dim")
    if len(report.sets) == 1:
        console.print(f"\n{summary(report.sets[0])}", highlight=False, markup=False)
    else:
        console.print()
        console.print(to_rich(overview_table(report.sets), encoding=console.encoding))


def _show_table(console: Console, table: Table) -> None:
    console.print(to_rich(table, encoding=console.encoding))
    if table.caption:  # a table ends with an empty line, a caption does not
        console.print()


def _say(console: Console, sentence: str, style: str | None = None) -> None:
    if sentence:
        console.print(sentence, style=style, highlight=False, markup=False)


def _rendered(report: Report, output: Path) -> dict[Path, bytes]:
    """Return all files of a report: page, ``report.json``, ``runs.csv``, tables and figures."""
    from bitstill.report.machine import run_rows, to_plain
    from bitstill.report.page import render

    plain = json.dumps(to_plain(report), indent=1, allow_nan=False) + "\n"
    files = {output / _NUMBERS: plain.encode(), **dict(_parts(report, output))}
    files[output / _RUNS] = encoded(to_csv(run_rows(report)))
    files[output / _PAGE] = encoded(render(report))
    return files


def _write(files: Mapping[Path, bytes], output: Path) -> None:
    """Write a report's files, and remove tables and figures that only an earlier one had."""
    folders = [output / "tables", output / "figures"]  # only files in these have a prefix
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        write_atomically(path, content)
    for path in _of_earlier_reports(folders, files):
        path.unlink(missing_ok=True)


def _parts(report: Report, output: Path) -> Iterator[tuple[Path, bytes]]:
    """Return the files of tables and figures, with their content."""
    tables, figures = output / "tables", output / "figures"
    named = told_apart([(one.runs.name, one.tables) for one in report.sets])
    for number, (one, own) in enumerate(zip(report.sets, named, strict=True), start=1):
        prefix = f"set{number}-" if len(report.sets) > 1 else ""
        for table in own:
            yield from _forms_of_table(tables / f"{prefix}{table.name}", table)
        for figure in one.figures:
            yield from _forms_of_figure(figures / f"{prefix}{figure.name}", figure)
    on_all = [overview_table(report.sets)] if len(report.sets) > 1 else []
    for table in (*on_all, *report.comparison_tables):
        yield from _forms_of_table(tables / table.name, table)


def _of_earlier_reports(folders: Sequence[Path], files: Collection[Path]) -> Iterator[Path]:
    """Return files in the folders that an earlier report on other sets has left."""

    def name(path: Path) -> str:
        return re.sub(r"^set\d+-", "", path.name)

    for folder in folders:
        known = {name(path) for path in files if path.parent == folder}
        for path in folder.iterdir():
            is_ours = name(path) in known or _ON_SEVERAL.fullmatch(path.name)
            if path not in files and is_ours:
                yield path


def _forms_of_table(path: Path, table: Table) -> Iterator[tuple[Path, bytes]]:
    yield path.with_name(f"{path.name}.md"), encoded(to_markdown(table))
    yield path.with_name(f"{path.name}.tex"), encoded(to_latex(table, label=path.name))


def _forms_of_figure(path: Path, figure: Figure) -> Iterator[tuple[Path, bytes]]:
    svg = to_svg(figure)
    if figure.spec is not None:
        yield path.with_name(f"{path.name}.csv"), to_csv(figure.rows).encode()
    yield path.with_name(f"{path.name}.svg"), svg.encode()
    yield path.with_name(f"{path.name}.png"), to_png(svg)
