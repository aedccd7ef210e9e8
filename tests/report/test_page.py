"""The page in a real browser; needs Debian's chromium."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.report.conftest import scattered, write_run, write_sweep

from bitstill.report.content import _DRAWN_FROM, build
from bitstill.report.page import _SECTIONS, render
from bitstill.runs.curves import read_curves, write_curves

DRAWN = "['light', 'dark'].includes(document.documentElement.dataset.drawn)"
LIMIT_BYTES = 1_500_000

# What a page does is the same of both; what it draws is not.
of_five_seeds = pytest.mark.parametrize("page", [5], indirect=True)


@pytest.fixture(scope="module", params=[5, 1], ids=["5 seeds", "1 seed"])
def page(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A page of 70 made-up runs, and of 14."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    folder = write_sweep(path.with_name("study"), scattered, seeds=range(request.param))
    path.write_text(render(build([folder])), encoding="utf-8")
    return path


def test_the_page_stands_alone(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(text.encode()) < LIMIT_BYTES
    assert "<script src" not in text
    assert '<link rel="stylesheet' not in text
    assert "default-src 'none'" in text  # nor could a script fetch anything
    head, _, rest = text.partition('<script type="application/json" id="specs">')
    charts = json.loads(rest.partition("</script>")[0])["charts"]
    assert {"set1-claims", "set1-accuracy", "set1-curves-soft"} <= charts.keys()
    for name in charts:
        assert head.count(f'id="{name}"') == 1


def test_tables_are_semantic(page: Path) -> None:
    head = page.read_text(encoding="utf-8").partition("<script")[0]
    assert head.count("<caption>") == head.count("<table")
    assert '<th scope="row">(a) soft: T = 15 is the best of the four</th>' in head
    assert '<html lang="en">' in head


def test_what_a_record_says_cannot_become_a_script(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    error = {"type": "E", "message": evil, "traceback": evil}
    write_run(tmp_path / "x", "hard", 15.0, 0, 90.0, name=evil, status="failed", error=error)
    text = render(build([tmp_path / "x"]))
    assert "<script>alert" not in text


def test_the_facts_are_the_students(tmp_path: Path) -> None:
    """schedule.batch_size=256 teacher.schedule.batch_size=32: the teacher comes first."""
    write_run(tmp_path / "x", "teacher", None, 0, 90.0)
    write_run(tmp_path / "x", "soft", 15.0, 0, 90.0, schedule={"epochs": 9, "batch_size": 256})
    text = render(build([tmp_path / "x"]))
    assert "<dt>schedule</dt><dd>9 epochs of batches of 256</dd>" in text


def test_code_that_was_changed_is_of_no_commit(tmp_path: Path) -> None:
    write_run(tmp_path / "x", "hard", 15.0, 0, 90.0, git_commit=f"{'c' * 40}-dirty")
    assert "commit cccccccccc-dirty" in render(build([tmp_path / "x"]))


def test_what_stands_for_a_number_is_none(tmp_path: Path) -> None:
    """The curves of one run are not there, those of another end after an epoch."""
    write_run(tmp_path / "x", "hard", 15.0, 0, 90.0).metrics.unlink()
    short = write_run(tmp_path / "x", "soft", 15.0, 0, 90.0)
    write_curves(short, read_curves(short)[:1])
    text = render(build([tmp_path / "x"]))
    for words in ("no curves", "too few epochs"):
        assert text.count(words) == text.count(f'<td class="absent number">{words}</td>') > 0


def test_the_page_says_which_set_is_which(tmp_path: Path) -> None:
    for epochs in (8, 9):
        schedule = {"epochs": epochs, "batch_size": 32}
        write_run(tmp_path / "x", "soft", float(epochs), 0, 90.0, schedule=schedule)
    text = render(build([tmp_path / "x"]))
    for epochs in (8, 9):
        assert f"made (schedule.epochs={epochs})</h2>" in text
    assert text.count(">Tables 1 to 4</h3>") == 2, "below the set's own heading"
    head = text.partition("<script")[0]
    assert '<a href="#set2">made (schedule.epochs=9)</a></th><td class="number">1 of 1</td>' in head
    ids = re.findall(r'\bid="([^"]+)"', head)
    assert len(ids) == len(set(ids)) > 20
    named = re.findall(r'(?:aria-labelledby="|url\(#)([^")]+)', head)
    linked = re.findall(r'href="#([^"]+)"', head)
    assert {one for names in [*named, *linked] for one in names.split()} <= set(ids)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "scheme"), [(5, "light"), (5, "dark"), (1, "light")], indirect=["page"]
)
def test_it_draws_silently_and_asks_nobody(browser: Any, page: Path, scheme: str) -> None:
    said: list[str] = []
    asked: list[str] = []
    tab = browser.new_page(color_scheme=scheme)
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.as_uri())
    tab.wait_for_function(DRAWN, timeout=60_000)
    assert tab.evaluate("document.documentElement.dataset.drawn") == scheme
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert tab.locator("[data-chart]").count() == tab.locator("[data-chart] svg").count() > 5
    assert tab.locator("[role=graphics-symbol]").count() > 20
    unnamed = tab.locator("[role=graphics-symbol]:not([aria-label])")
    assert unnamed.count() == 0, "a screen reader would say 'image', and no more"
    heights = tab.evaluate(
        "[...document.querySelectorAll('[data-chart]')].map(box => box.offsetHeight)"
    )
    assert max(heights) < 800  # an infinite axis is a mile high
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    label = tab.locator("#set1-accuracy text").first.evaluate("node => node.getAttribute('fill')")
    assert label == {"light": "#1f2328", "dark": "#e6e6e6"}[scheme]


@pytest.mark.slow
@of_five_seeds
def test_it_redraws_when_the_scheme_changes(browser: Any, page: Path) -> None:
    tab = browser.new_page(color_scheme="light")
    tab.goto(page.as_uri())
    tab.wait_for_function(DRAWN, timeout=60_000)
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_function("document.documentElement.dataset.drawn == 'dark'", timeout=60_000)


@pytest.mark.slow
@of_five_seeds
def test_in_a_narrow_window_charts_scroll_and_the_page_does_not(browser: Any, page: Path) -> None:
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.goto(page.as_uri())
    tab.wait_for_function(DRAWN, timeout=60_000)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.locator("#set1-accuracy").evaluate("box => box.scrollWidth > box.clientWidth")


@pytest.mark.slow
@of_five_seeds
def test_legend_and_list_filter(browser: Any, page: Path) -> None:
    tab = browser.new_page()
    tab.goto(page.as_uri())
    tab.wait_for_function(DRAWN, timeout=60_000)
    dots = "#set1-accuracy .mark-symbol.role-mark path"
    everything = tab.locator(dots).count()
    legend = tab.locator("#set1-accuracy .role-legend-symbol path")
    legend.nth(1).click()  # soft: a quarter of the dots, more or less
    tab.wait_for_function(f"document.querySelectorAll({dots!r}).length < {everything}")
    alone = tab.locator(dots).count()
    assert 0 < alone < everything / 2
    legend.nth(1).click(modifiers=["Shift"])
    tab.wait_for_function(f"document.querySelectorAll({dots!r}).length == {everything}")
    tab.locator("#set1-accuracy select").nth(1).select_option("soft")
    tab.wait_for_function(f"document.querySelectorAll({dots!r}).length == {alone}")


def test_every_table_and_figure_has_its_section(tmp_path: Path) -> None:
    """Sections choose by how a name begins: none may be passed over."""
    [one] = build([write_sweep(tmp_path / "study", scattered, seeds=range(2))]).sets
    tables = tuple(name for section in _SECTIONS for name in section[2])
    figures = tuple(name for section in _SECTIONS for name in section[3])
    assert [table.name for table in one.tables if not table.name.startswith(tables)] == []
    assert [figure.name for figure in one.figures if not figure.name.startswith(figures)] == []
    assert all(begin.startswith(figures) for begin, *_ in _DRAWN_FROM)
