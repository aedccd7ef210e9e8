"""A table of texts, and its output formats: rich, Markdown, LaTeX, HTML."""

import dataclasses
import html
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import rich.box
import rich.console
import rich.table
from rich.markup import escape
from rich.text import Text

from bitstill.statistics import Difference, mean_interval

NOT_APPLICABLE = "—"
PIPE_WIDTH = 110  # a pipe has no width of its own; rich would assume 80


@dataclass(frozen=True)
class Table:
    """Cells of text under column headers.

    Attributes:
        name: the name of the table's files, without their ending.
        title: a line.
        caption: what a reader must know.
        header: the columns; the first names a row.
        rows: each with as many cells as columns.
        labels: how many columns, on the left, hold words; the others, on the right, hold numbers.
    """

    name: str
    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 1

    @property
    def said(self) -> str:
        """Title and caption in one text."""
        stop = "" if self.title.endswith("?") else "."
        return f"{self.title}{stop} {self.caption}".strip()


def told_apart(tables: Sequence[tuple[str, Sequence[Table]]]) -> list[list[Table]]:
    """Return the tables of each set, with its name in their titles if there are several sets.

    Args:
        tables: for each set its name and tables.
    """
    several = len(tables) > 1
    return [
        [dataclasses.replace(one, title=f"{name}: {one.title}") if several else one for one in own]
        for name, own in tables
    ]


def plus_minus(values: Sequence[float]) -> str:
    """Return mean ± half of the 95 % t interval; a single value alone."""
    interval = mean_interval(values)
    spread = f" ± {interval.half_width:.1f}" if len(values) > 1 else ""
    return f"{interval.estimate:.1f}{spread}"


def signed(difference: Difference) -> str:
    """Return a difference with its sign and, where one can be given, its 95 % t interval."""
    estimate, low, high = difference.interval()
    return f"{estimate:+z.2f}" + (f" [{low:+z.2f}, {high:+z.2f}]" if difference.df else "")


def or_dash(value: float | None, form: str) -> str:
    """Return a formatted number, or a dash for None."""
    return NOT_APPLICABLE if value is None else format(value, form)


def p_text(value: float | None) -> str:
    """Return a p-value with three digits, never as zero."""
    return "<0.001" if value is not None and value < 0.001 else or_dash(value, ".3f")


def in_encoding(text: str, encoding: str) -> str:
    """Return a text in ASCII if an encoding lacks some of its characters."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace("±", "+-").replace(NOT_APPLICABLE, "-")
    return text


def output_console() -> rich.console.Console:
    """Return the console of standard output, wide enough for our tables if it is a pipe."""
    return rich.console.Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def print_set_name(console: rich.console.Console, name: str) -> None:
    """Print a line and the name of a set above its tables.

    The whole name is printed, as its end may be what tells the set apart. As the title of a rule it
    would be cut, with an ellipsis that not every encoding has.
    """
    console.rule(characters="-")  # rich's own line is not ASCII
    console.print(name, style="bold", highlight=False, markup=False)


def to_rich(table: Table, *, encoding: str = "utf-8") -> rich.console.Group:
    """Return the table for a terminal of 80 columns, in ASCII if the encoding requires it.

    Title and caption are as wide as the terminal, not as the table.
    """

    def known(text: str) -> str:
        return in_encoding(text.replace(" ± ", "±"), encoding)

    shown = rich.table.Table(
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        safe_box=True,
    )
    for number, name in enumerate(table.header):
        breakable = any(" " in known(row[number]) for row in table.rows)
        shown.add_column(
            known(name).replace(" ", "\n"),
            no_wrap=number > 0 and not breakable,
            overflow="fold",
            justify="left" if number < table.labels else "right",
            style="cyan" if name == "published" else None,
        )
    for row in table.rows:
        shown.add_row(*(escape(known(cell)) for cell in row))
    title, caption = Text(known(table.title), "bold"), Text(known(table.caption), "table.caption")
    return rich.console.Group(title, shown, *([caption] if table.caption else []))


def to_html(table: Table) -> str:
    """Return the table for a page, with its caption and headings."""

    def cell(number: int, text: str) -> str:
        tag = 'th scope="row"' if number < table.labels else "td"
        return f"<{tag}>{html.escape(text)}</{tag.split()[0]}>"

    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.header)
    rows = "".join(
        "<tr>" + "".join(cell(number, text) for number, text in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    return (
        f"<table><caption>{html.escape(table.said)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def to_markdown(table: Table) -> str:
    """Return the table for Markdown, with title and caption as paragraphs."""

    def line(cells: Sequence[str]) -> str:
        plain = (_TAG.sub("&lt;", cell.replace("|", "\\|")) for cell in cells)
        return f"| {' | '.join(plain)} |"

    rule = [":---" if n < table.labels else "---:" for n in range(len(table.header))]
    lines = [line(table.header), line(rule), *(line(row) for row in table.rows)]
    title, caption = (text.translate(_MARKDOWN) for text in (table.title, table.caption))
    parts = [f"**{title}**", "\n".join(lines), caption]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return text.replace("](", r"]\(")  # foreign text makes no links, and loads no pictures


_TAG = re.compile("<(?=[A-Za-z/!?])")  # in a cell's text; "<0.001" is not a tag
_MARKDOWN = str.maketrans({"<": "&lt;", "*": r"\*"})  # in a sweep's name


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        NOT_APPLICABLE: "---",
        "<": "$<$",
        ">": "$>$",
        "|": "$|$",
    }
)


def to_latex(table: Table, *, label: str) -> str:
    """Return the table for LaTeX with the booktabs package, with a label to refer to."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cell.translate(_LATEX) for cell in cells) + r" \\"

    columns = "l" * table.labels + "r" * (len(table.header) - table.labels)
    lines = [
        r"\begin{table}",
        rf"\caption{{{table.said.translate(_LATEX)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        line(table.header),
        r"\midrule",
        *(line(row) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def encoded(text: str) -> bytes:
    """Return a text as bytes for a file; a folder's name may not be UTF-8."""
    return text.encode(errors="backslashreplace")
