"""Tables inside a Markdown page of somebody's own."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from scipy import stats
from tests.asked import absent, asked_again
from tests.report.conftest import write_run, write_sweep
from typer.testing import CliRunner

from bitstill.cli import app
from bitstill.errors import UserError
from bitstill.report.content import Report, build
from bitstill.report.fill import fill_page, filled
from bitstill.report.sweeps import read_sweep
from bitstill.runs import RunPaths
from bitstill.runs.manifest import Expected, write_manifest

PAGE = "# Mine\n\n<!-- report: {} -->\nold\n<!-- end -->\n\nMy words.\n"
CELLS = [("teacher", None), ("hard", 15.0), ("soft", 10.0), ("soft", 15.0)]


def percent(loss: str, temperature: float | None, seed: int) -> float:
    return 88 + len(loss) / 10 + seed + (loss == "soft") * seed / 20


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "sweep", percent, seeds=range(3), cells=CELLS)


def asked_for(sweep: Path, *more: Expected) -> Report:
    """Report on a sweep that asks for its runs and for more."""
    there = map(asked_again, read_sweep(sweep))
    write_manifest(sweep, [*there, *more])
    return build([sweep])


def test_a_place_is_filled_and_the_rest_stays(sweep: Path) -> None:
    text = filled(PAGE.format("table1"), build([sweep]))
    assert text.startswith("# Mine\n\n<!-- report: table1 -->\n\n**Table 1: teacher")
    assert text.endswith("|\n\n<!-- end -->\n\nMy words.\n")
    assert "old" not in text
    assert filled(text, build([sweep])) == text


def test_the_command_fills_a_page(sweep: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.format("progress"))
    arguments = ["report", str(sweep), "--fill", str(page), "--output", str(tmp_path / "out")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert "**12 of 12 runs are finished**" in page.read_text()


def test_a_figure_is_a_file_beside_the_page(sweep: Path, tmp_path: Path) -> None:
    page = tmp_path / "mine.md"
    page.write_text(PAGE.format("figure-accuracy"))
    fill_page(page, build([sweep]))
    assert (
        "-->\n\n![Accuracy over temperature](mine-accuracy.svg)\n\nTest accuracy"
        in page.read_text()
    )
    assert (tmp_path / "mine-accuracy.svg").read_text().startswith("<svg ")
    assert [file.name for file in tmp_path.glob("*.svg")] == ["mine-accuracy.svg"]


def test_a_page_may_have_any_name(sweep: Path, tmp_path: Path) -> None:
    page = tmp_path / "my page (1).md"
    page.write_text(PAGE.format("figure-accuracy"))
    fill_page(page, build([sweep]))
    assert "](my%20page%20%281%29-accuracy.svg)" in page.read_text()
    assert (tmp_path / "my page (1)-accuracy.svg").exists()


def test_of_several_sets_the_first_is_shown_and_named(sweep: Path, tmp_path: Path) -> None:
    changed = write_run(sweep, "soft", 50.0, 0, 80.0)
    plain = json.loads(changed.record.read_text())
    plain["config"]["schedule"]["epochs"] += 1
    changed.record.write_text(json.dumps(plain))
    page = tmp_path / "page.md"
    page.write_text(PAGE.format("table2"))
    arguments = ["report", str(sweep), "--fill", str(page), "--output", str(tmp_path / "out")]
    said = " ".join(CliRunner().invoke(app, arguments).output.split())
    assert f"{page} shows " in said
    assert "the first of 2 sets" in said


def test_what_is_not_there_yet_is_said(sweep: Path) -> None:
    assert "There is nothing to show yet." in filled(PAGE.format("table3"), build([sweep]))


def test_what_later_sweeps_showed_stays_where_none_is_given(sweep: Path) -> None:
    page = PAGE.format("open")
    assert filled(page, build([sweep])) == page


def test_a_place_without_an_end_is_refused(sweep: Path) -> None:
    page = "<!-- report: table1 -->\nMine.\n" + PAGE.format("table2")
    with pytest.raises(UserError, match="the place of table1 has no end: give it '<!-- end -->'"):
        filled(page, build([sweep]))


def test_an_unknown_table_is_refused(sweep: Path) -> None:
    with pytest.raises(UserError, match=r"asks for tabel1; did you mean table1\?; there are prog"):
        filled(PAGE.format("tabel1"), build([sweep]))


def test_a_page_without_a_place_is_refused(sweep: Path) -> None:
    with pytest.raises(UserError, match="the page has no place for anything: give it"):
        filled("# Mine\n", build([sweep]))


def test_what_is_no_file_is_refused(sweep: Path, tmp_path: Path) -> None:
    """A pipe without a writer would be waited for."""
    pipe = tmp_path / "page.md"
    os.mkfifo(pipe)
    arguments = ["report", str(sweep), "--fill", str(pipe)]
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, UserError)
    assert "page.md is not a file: give a Markdown page" in str(error)


def test_a_page_that_is_not_there_is_refused(sweep: Path, tmp_path: Path) -> None:
    arguments = ["report", str(sweep), "--fill", str(tmp_path / "none.md")]
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, UserError)
    assert "none.md cannot be filled" in str(error)


def test_progress_counts_what_the_sweep_asks_for(sweep: Path) -> None:
    text = filled(
        PAGE.format("progress"),
        asked_for(sweep, absent(sweep, "soft T=15", 3), absent(sweep, "soft T=50", 0)),
    )
    assert "**12 of 14 runs are finished**" in text
    assert "| soft T=15 | 3 | 4 |\n" in text
    assert "| soft T=50 | 0 | 1 |\n" in text


@pytest.mark.parametrize("key", ["l2", "data.path=/a seed bank"])
def test_of_a_sweep_of_several_sets_each_waits_for_its_own(sweep: Path, key: str) -> None:
    """Two learning rates, say; of the second, one of three runs is there."""
    changed = write_run(sweep, "soft", 50.0, 0, 80.0)
    plain = json.loads(changed.record.read_text())
    plain["config"]["schedule"]["l2"] = 0.5
    changed.record.write_text(json.dumps(plain))
    runs = [run for run in read_sweep(sweep) if run.paths != changed]
    there = [asked_again(run, difference=f"{key}=0") for run in runs]
    identity = plain["identity"]
    folders = [changed, *map(RunPaths, (sweep / "1", sweep / "2"))]
    identities = [identity, f"{identity}1", f"{identity}2"]
    other = [
        Expected("soft T=50", seed, of, 8, folders[seed], difference=f"{key}=0.5")
        for seed, of in enumerate(identities)
    ]
    write_manifest(sweep, [*there, *other])
    first, second = build([sweep]).sets
    assert (first.asked, len(first.runs.runs)) == (12, 12)
    assert not any(one.awaited for one in first.main_findings)
    assert second.asked == 1 + 2 + 3, "a student, two to come, and the teachers, whose all may read"
    assert second.main_findings[0].awaited == 2


def test_what_no_set_has_begun_is_awaited_by_all(sweep: Path) -> None:
    """Of two factors c, say, whose runs come after those of ``soft``, which has none."""
    missing = absent(sweep, "soft_hard T=15", 0)
    of_two = [
        dataclasses.replace(missing, identity=factor, difference=f"soft_weight={factor}")
        for factor in ("t_squared", "constant")
    ]
    [one] = asked_for(sweep, *of_two).sets
    assert one.asked == 12 + 2
    waiting = {one.question.name for one in one.main_findings if one.awaited}
    assert "soft_hard at T = 15 above hard" in waiting


def test_a_set_waits_for_none_that_another_has_begun(sweep: Path) -> None:
    """Two commands, of which each has one quantizer: no name says which."""
    other = write_run(sweep / "..", "soft", 50.0, 0, 80.0)
    plain = json.loads(other.record.read_text())
    plain["config"]["quantizer"]["method"] = "dorefa"
    other.record.write_text(json.dumps(plain))
    other.directory.rename(sweep / "other")
    asked_for(sweep)
    first, second = build([sweep]).sets
    assert (first.asked, second.asked) == (12, 1 + 3), "the teachers are in both"


def test_a_verdict_waits_for_the_runs_of_its_cells_alone(sweep: Path) -> None:
    before = {one.question.name: one for one in build([sweep]).sets[0].main_findings}
    [one] = asked_for(sweep, absent(sweep, "soft T=15", 3), absent(sweep, "soft_hard T=15", 0)).sets
    after = {one.question.name: one for one in one.main_findings}
    soft, teacher = "soft at T = 15 above hard", "teacher above the student (hard, T = 15)"
    assert before[soft].verdict is not None
    assert (after[soft].verdict, after[soft].p, after[soft].awaited) == (None, None, 1)
    assert after[soft].effect == before[soft].effect
    assert repr(after[teacher]) == repr(before[teacher])  # NaN is not NaN
    assert after["soft_hard at T = 15 above hard"].awaited == 1
    text = filled(PAGE.format("claims"), asked_for(sweep))
    assert "| (e) soft at T = 15 above hard | waits for 1 run | 0.40 |" in text


def test_open_questions_are_against_the_study_at_15(tmp_path: Path) -> None:
    """Made-up runs of a low T, another quantizer and another c, each 1 to 2 points below."""
    cells = [("hard", 15.0), ("soft", 15.0), ("soft_hard", 15.0)]
    study = write_sweep(tmp_path / "study", percent, seeds=range(3), cells=cells)

    def lower(loss: str, temperature: float | None, seed: int) -> float:
        return percent(loss, temperature, seed) - 1 - seed / 2

    low = write_sweep(tmp_path / "open", lower, seeds=range(2), cells=[("soft", 2.0)])
    for cell, changes in (
        (("hard", 15.0), {"quantizer": {"method": "dorefa", "weight_bits": None}}),
        (("soft_hard", 15.0), {"soft_weight": {"_target_": "losses.constant_weight", "value": 1}}),
    ):
        made = write_sweep(tmp_path / cell[0], lower, seeds=range(2), cells=[cell])
        for path in made.glob("*/run.json"):
            plain = json.loads(path.read_text())
            plain["config"] |= changes
            plain["identity"] += "-changed"
            path.write_text(json.dumps(plain))
            path.parent.rename(low / path.parent.name)
    text = filled(PAGE.format("open"), build([study, low]))
    limits = stats.t.interval(0.95, 1, -1.25, stats.sem([-1.0, -1.5]))
    effect = f"-1.25 [{limits[0]:+.2f}, {limits[1]:+.2f}] | 2 |"
    assert "**6 of 6 runs are finished**" in text
    rows = [line for line in text.splitlines() if line.endswith("| 2 |")]
    assert [row.split(" | ")[0] for row in rows] == [
        "| T = 2",
        "| c constant, value 1",
        "| quantizer.method = dorefa, quantizer.weight_bits = null",
    ]
    assert all(row.endswith(effect) for row in rows)
