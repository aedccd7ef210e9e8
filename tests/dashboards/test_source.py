"""What a dashboard is of."""

import json
import shutil
from pathlib import Path

from bitstill.dashboards.panels import sections
from bitstill.dashboards.source import find_source
from bitstill.report.content import build
from bitstill.report.sweeps import View

RECORDS = Path(__file__).parents[2] / "multirun" / "svhn-resplit"


def test_a_loss_of_ones_own_is_shown(tmp_path: Path) -> None:
    for run in sorted(RECORDS.glob("hard-T15-seed[01]-*")):
        shutil.copytree(run, tmp_path / run.name)
    plain = json.loads((tmp_path / run.name / "run.json").read_text())
    (tmp_path / run.name / "run.json").write_text(json.dumps(plain | {"loss": "mine"}))
    source = find_source(str(tmp_path))
    assert source.losses == ["hard", "mine"]
    assert [section.title for section in sections(source)[:2]] == [
        "Table 1: student from ground truth only (hard)",
        "mine: a loss that nothing was published on",
    ]


def test_a_teacher_of_an_earlier_sweep_is_not_what_it_is_of(tmp_path: Path) -> None:
    [teacher] = RECORDS.glob("teacher-seed0-*")
    [student] = RECORDS.glob("hard-T15-seed0-*")
    for run, name in ((teacher, "earlier"), (student, "mine")):
        shutil.copytree(run, tmp_path / run.name)
        file = tmp_path / run.name / "run.json"
        plain = json.loads(file.read_text())
        plain["config"]["name"] = name
        file.write_text(json.dumps(plain))
    source = find_source(str(tmp_path))
    assert source.group == "mine"
    assert [one.runs.name for one in build([tmp_path]).sets] == ["mine"]


def test_a_project_shows_what_every_run_has() -> None:
    """Some sweeps have no validation images."""
    assert find_source("lab/quantization").view == View("running", "last")


def test_tables_of_several_sets_say_whose_they_are(tmp_path: Path) -> None:
    """Of one set they need not."""
    first, second = sorted(RECORDS.glob("hard-T15-seed[01]-*"))
    for run in (first, second):
        shutil.copytree(run, tmp_path / run.name)
    titles = [table.title for table in find_source(str(tmp_path)).tables]
    assert titles[0] == "Published claims"
    record = tmp_path / second.name / "run.json"
    plain = json.loads(record.read_text())
    plain["config"]["schedule"]["l2"] = 0.5
    record.write_text(json.dumps(plain))
    names = [table.title.partition(": ")[0] for table in find_source(str(tmp_path)).tables]
    assert set(names) == {
        f"svhn-resplit (schedule.l2={one})" for one in (plain["config"]["schedule"]["l2"], "1e-10")
    }
    assert len(names) == 2 * len(titles)
