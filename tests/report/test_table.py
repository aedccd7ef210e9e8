import io

from rich.console import Console

from bitstill.report.table import Table, to_latex, to_markdown, to_rich

TABLE = Table("t", "A_title", "100 % & more", ("T", "ours"), [("10", "90.1 ± 0.2"), ("15", "—")])


def test_markdown() -> None:
    assert to_markdown(TABLE) == (
        "**A_title**\n\n| T | ours |\n| :--- | ---: |\n| 10 | 90.1 ± 0.2 |\n| 15 | — |\n\n"
        "100 % & more\n"
    )


def test_latex() -> None:
    text = to_latex(TABLE)
    assert r"\caption{A\_title. 100 \% \& more}" in text
    assert r"10 & 90.1 $\pm$ 0.2 \\" in text
    assert r"\begin{tabular}{lr}" in text


def test_a_terminal_without_unicode_gets_ascii() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=file, width=80)
    console.print(to_rich(TABLE, encoding="ascii"))
    file.flush()
    assert b"90.1+-0.2" in file.buffer.getvalue()
