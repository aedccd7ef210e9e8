"""docs/reproduction.md says what the committed records say."""

import json
import math
import re
import shlex
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import yaml

from bitstill.manifest import manifest, read_manifest
from bitstill.report.content import build
from bitstill.report.figures.figure import to_svg
from bitstill.report.fill import NAMES, filled
from bitstill.report.published import ACCURACIES, HARD_ACCURACY
from bitstill.report.sweeps import Run, read_sweep

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reproduction.md").read_text()
STUDY = ROOT / "multirun" / "svhn-resplit"
OPEN = ROOT / "multirun" / "svhn-resplit-open"
FOLDERS = [folder for folder in (STUDY, OPEN) if any(folder.glob("*/run.json"))]


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return read_sweep(STUDY)


@pytest.fixture(scope="module")
def all_runs() -> list[Run]:
    return [run for folder in FOLDERS for run in read_sweep(folder)]


def test_the_page_is_filled_from_the_records() -> None:
    assert filled(PAGE, build(FOLDERS), stem="reproduction") == PAGE, (
        f"run: bitstill report {' '.join(map(str, FOLDERS))} --fill docs/reproduction.md"
    )


def test_its_figures_are_drawn_from_the_records() -> None:
    """By what they tell those who do not see them: places differ with a machine's fonts."""
    drawn = {figure.name: to_svg(figure) for figure in build(FOLDERS).sets[0].figures}
    for file in re.findall(r"\]\((reproduction-.*?\.svg)\)", PAGE):
        name = file.removeprefix("reproduction-").removesuffix(".svg")
        kept = (ROOT / "docs" / file).read_text()
        assert told(kept) == told(drawn[name]), name


def told(svg: str) -> list[str]:
    found = re.findall(r'aria-label="(.*?)"', svg)
    assert found
    return found


def test_the_page_has_all_tables_but_every_seed() -> None:
    asked = re.findall(r"<!-- report: (\S+) -->", PAGE)
    assert sorted(asked) == sorted(set(NAMES) - {"seeds"})


def test_the_chance_by_which_gains_differ(runs: list[Run]) -> None:
    """What README and the page compare the published gaps with."""
    gains: dict[str, list[float]] = {}
    for run in runs:
        if not run.record.is_teacher and run.record.cell != "hard T=1":
            curve = [100 * row["test/accuracy"] for row in run.curves]
            gains.setdefault(run.record.cell, []).append(max(curve) - fmean(curve[-15:]))
    chance = math.sqrt(2 * np.mean([np.var(one, ddof=1) for one in gains.values()]))
    assert len(gains) == 13
    assert f"standard deviation of {chance:.2f} points" in PAGE
    gaps = [
        at[15.0] - other
        for loss, at in ACCURACIES.items()
        if loss != "hard"
        for other in (*(value for t, value in at.items() if t != 15), HARD_ACCURACY)
    ]
    below = sum(gap < chance for gap in gaps)
    assert f"{below} of the {len(gaps)} published gaps in this table are smaller" in PAGE
    said = f"the {len(gaps)} gaps behind that, {below} are below {chance:.2f} points"
    assert said in (ROOT / "README.md").read_text()


def test_the_sweep_asks_for_the_study(runs: list[Run]) -> None:
    asked = {one.identity: one for one in read_manifest(STUDY)}
    assert len(asked) == 75
    for run in runs:
        assert asked[run.record.identity].paths.directory == run.paths.directory
        assert (run.record.epoch, run.record.epochs) == (60, 60)


def test_the_page_gives_the_command_that_was_run(runs: list[Run]) -> None:
    [command] = re.findall(r"^    bitstill train (experiment=study name=.*)$", PAGE, re.MULTILINE)
    common = set(shlex.split(command)) - {"hydra/launcher=parallel"}
    for run in runs:
        own = {"seed", "model", "loss", "temperature"}
        arguments = yaml.safe_load(run.paths.overrides.read_text())
        given = {one for one in arguments if one.split("=")[0] not in own}
        assert given | {"experiment=study"} == common  # without it: a part, by the same settings


def test_the_page_names_the_data_and_the_schedule(runs: list[Run]) -> None:
    for run in runs:
        assert f"`{run.record.data_identity[:10]}`" in PAGE
        assert run.record.images == {"train": 19_473 - 1_947, "val": 1_947, "test": 6_559}
        assert run.record.config["schedule"]["batch_size"] == 64
        assert run.record.config["evaluation"]["calibration_images"] == 2_048
        assert f"{run.record.images['train'] // 64} an epoch" in PAGE
        assert "1 thread" in run.record.device


def test_records_hold_what_the_curves_and_the_images_say(all_runs: list[Run]) -> None:
    for run in all_runs:
        assert run.done
        assert [row["epoch"] for row in run.curves] == list(range(1, 61))
        for kind, selections in run.record.selections.items():
            for name, row in selections.items():
                assert row is not None
                right = run.correctness[f"{kind}/{name}"]
                assert np.mean(right) == pytest.approx(row["test/accuracy"])
                suffix = "" if kind == "running" else "_precise"
                curve = run.curves[int(row["epoch"]) - 1]
                assert curve[f"test/accuracy{suffix}"] == row["test/accuracy"]


def test_records_name_no_machine(all_runs: list[Run]) -> None:
    texts = [run.paths.record.read_text() for run in all_runs]
    texts += [run.paths.overrides.read_text() for run in all_runs]
    for text in [*texts, *(manifest(folder).read_text() for folder in FOLDERS)]:
        # An absolute path, or one that leaves the sweep's own folders.
        assert not re.search(r"""(^|["'\s=(])(/|~)\w""", text)
        assert "../" not in text.replace('"../teachers/', "")
    for run in all_runs:
        assert json.loads(run.paths.record.read_text())["error"] is None
