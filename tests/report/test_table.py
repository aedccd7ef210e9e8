import io
import math
from dataclasses import replace

from rich.console import Console

from bitstill.report.table import (
    Table,
    p_text,
    plus_minus,
    print_set_name,
    signed,
    to_html,
    to_latex,
    to_markdown,
    to_rich,
)
from bitstill.statistics import Difference

TABLE = Table("t", "A_title", "100 % & more", ("T", "ours"), [("10", "90.1 ± 0.2"), ("15", "—")])


def test_markdown() -> None:
    assert to_markdown(TABLE) == (
        "**A_title**\n\n| T | ours |\n| :--- | ---: |\n| 10 | 90.1 ± 0.2 |\n| 15 | — |\n\n"
        "100 % & more\n"
    )


def test_a_sweep_s_name_is_no_markup() -> None:
    assert to_markdown(replace(TABLE, title="a <i>*b*: A_title")).startswith(
        "**a &lt;i>\\*b\\*: A_title**\n"
    )


def test_a_cell_is_no_markup() -> None:
    table = replace(TABLE, rows=[("<script>[/b]", "<0.001")])
    assert "| &lt;script>[/b] | <0.001 |" in to_markdown(table)
    console = Console(file=io.StringIO(), width=80)
    console.print(to_rich(table))
    assert "<script>[/b]" in console.file.getvalue()  # type: ignore[attr-defined]


def test_no_text_is_a_link() -> None:
    text = "![a](http://b/c.png)"
    table = replace(TABLE, title=text, caption=text, rows=[(text, "1")])
    assert to_markdown(table).count(r"![a]\(http://b/c.png)") == 3


def test_latex() -> None:
    text = to_latex(TABLE, label="set2-t")
    assert r"\caption{A\_title. 100 \% \& more}" in text
    assert r"10 & 90.1 $\pm$ 0.2 \\" in text
    assert r"\begin{tabular}{lr}" in text
    assert r"\label{tab:set2-t}" in text


def test_a_question_has_one_mark() -> None:
    assert replace(TABLE, title="Does it?").said == "Does it? 100 % & more"


def test_a_terminal_without_unicode_gets_ascii() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=file, width=80)
    console.print(to_rich(TABLE, encoding="ascii"))
    file.flush()
    assert b"90.1+-0.2" in file.buffer.getvalue()


def test_a_long_name_of_a_set_is_whole_in_any_encoding() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_set_name(Console(file=file, width=20), "study (schedule.batch_size=256)")
    file.flush()
    line, *name = file.buffer.getvalue().split(b"\n")
    assert line == b"-" * 20
    assert b"".join(name).replace(b" ", b"") == b"study(schedule.batch_size=256)"


def test_title_and_caption_are_not_squeezed_into_a_narrow_table() -> None:
    console = Console(file=io.StringIO(), width=80)
    caption = "A caption of more words than the two columns are wide"
    console.print(to_rich(replace(TABLE, title="A title that is wider", caption=caption)))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert (lines[0], lines[-1]) == ("A title that is wider", caption)


def test_words_in_a_column_of_numbers_are_broken_before_a_row_s_name_is() -> None:
    words = "not measured"
    header = ("model", "published", "batch norm", "best test", "best val", "last", "optimism", "n")
    row = ("hard T=15", "90.0", "running", "89.7 ± 1.0", words, words, "0.4", "5")
    console = Console(file=io.StringIO(), width=80)
    console.print(to_rich(Table("t", "title", "", header, [row])))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "hard T=15" in text
    assert "89.7±1.0" in text


def test_html_has_headings_and_no_markup_of_its_own() -> None:
    assert to_html(TABLE) == (
        "<table><caption>A_title. 100 % &amp; more</caption>"
        '<thead><tr><th scope="col">T</th><th scope="col">ours</th></tr></thead><tbody>'
        '<tr><th scope="row">10</th><td>90.1 ± 0.2</td></tr>'
        '<tr><th scope="row">15</th><td>—</td></tr></tbody></table>'
    )


def test_a_p_is_never_nought() -> None:
    found = [p_text(p) for p in (None, 0.0, 0.0009, 0.001, 0.05)]
    assert found == ["—", "<0.001", "<0.001", "0.001", "0.050"]


def test_one_value_has_no_spread() -> None:
    assert plus_minus([90.04]) == "90.0"


def test_a_difference_of_nothing_has_no_minus() -> None:
    assert signed(Difference(-0.004, math.nan, 0, 1)) == "+0.00"
    assert signed(Difference(-0.004, 1e-9, 4, 5)) == "+0.00 [+0.00, +0.00]"


def test_marks_in_cells() -> None:
    table = Table("t", "title", "", ("a", "b"), [("x|y", "<0.001"), ("{z}", "1")])
    assert r"| x\|y | <0.001 |" in to_markdown(table)
    assert r"x$|$y & $<$0.001 \\" in to_latex(table, label="t")
    assert r"\{z\} & 1 \\" in to_latex(table, label="t")


def test_two_columns_may_name_a_row() -> None:
    table = Table("t", "title", "", ("a", "b", "c"), [("x", "y", "1")], labels=2)
    assert '<th scope="row">x</th><th scope="row">y</th><td>1</td>' in to_html(table)
    assert "| :--- | :--- | ---: |" in to_markdown(table)
    assert r"\begin{tabular}{llr}" in to_latex(table, label="t")
