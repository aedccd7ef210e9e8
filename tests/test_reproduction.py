"""docs/reproduction.md says what the committed records say."""

import dataclasses
import json
import math
import re
import shlex
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import yaml
from scipy import stats

from bitstill.report.claims import findings
from bitstill.report.content import build
from bitstill.report.far_out import far_out
from bitstill.report.figures.figure import to_svg
from bitstill.report.fill import NAMES, filled
from bitstill.report.published import ACCURACIES, HARD_ACCURACY
from bitstill.report.sets import run_sets
from bitstill.report.sweeps import VIEWS, Run, View, read_sweep
from bitstill.runs.manifest import manifest_path, read_manifest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reproduction.md").read_text()
STUDY = ROOT / "multirun" / "svhn-resplit"
OPEN = ROOT / "multirun" / "svhn-resplit-open"
HONEST = View("running", "best_val")
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


def test_the_chance_by_which_two_published_numbers_differ(runs: list[Run]) -> None:
    """What README and the page compare the published gaps with."""
    best: dict[str, list[float]] = {}
    for run in runs:
        highest = max(100 * row["test/accuracy"] for row in run.curves)
        if not run.record.is_teacher and run.record.cell != "hard T=1" and highest > 50:
            best.setdefault(run.record.cell, []).append(highest)
    assert len(best) == 13
    assert sum(map(len, best.values())) == 5 * 13 - 1, "one did not learn"
    squares = sum(np.var(one, ddof=1) * (len(one) - 1) for one in best.values())
    chance = math.sqrt(2 * squares / (4 * 13 - 1))
    assert f"standard deviation of {chance:.2f} points" in PAGE
    gaps = [
        at[15.0] - other
        for loss, at in ACCURACIES.items()
        if loss != "hard"
        for other in (*(value for t, value in at.items() if t != 15), HARD_ACCURACY)
    ]
    below = sum(gap < chance for gap in gaps)
    page, readme = (" ".join(text.split()) for text in (PAGE, (ROOT / "README.md").read_text()))
    assert f"Of the {len(gaps)} published gaps in this table {below} are smaller." in page
    assert (
        f"rests on {len(gaps)} gaps: for three losses, T = 15 against the three other T," in readme
    )
    assert f"with a standard deviation of {chance:.2f} points" in readme
    assert f"{below} of the {len(gaps)} gaps are smaller." in readme


def test_the_pulls_that_c_keeps_level_and_not_alike() -> None:
    ratios = [json.loads(path.read_text()) for path in STUDY.glob("soft_hard-T15-*/gradients.json")]
    assert len(ratios) == 5
    pulls = [
        t**2 * ratio
        for one in ratios
        for t, ratio in zip(one["T"], one["measured"], strict=True)
        if t in ACCURACIES["soft_hard"]
    ]
    assert len(pulls) == 5 * 4
    said = f"tempered term pulls {min(pulls):.1f} to {max(pulls):.1f} times as hard"
    assert said in " ".join(PAGE.split())


def test_what_is_said_of_a_claim_without_the_run_that_did_not_learn(runs: list[Run]) -> None:
    [one] = run_sets(runs)
    left = dataclasses.replace(one, runs=[run for run in runs if run not in far_out(one, HONEST)])
    assert len(left.runs) == len(runs) - 1
    for view in VIEWS:
        [found] = [one for one in findings(left, view) if one.question.claim == "d"]
        assert found.verdict == "contradicted"
        if view == HONEST:
            effect = found.effect
    contrasts = [
        fmean(left.percents(f"gt_soft_hard T={t}", HONEST)[seed] for t in (10, 15, 50, 100))
        - fmean(left.percents(f"soft_hard T={t}", HONEST)[seed] for t in (10, 15, 50, 100))
        for seed in (0, 2, 3, 4)
    ]
    by_seed = stats.t.interval(0.95, 3, fmean(contrasts), stats.sem(contrasts))
    assert effect is not None
    said = (
        f"{effect.estimate:.2f} points [{effect.low:.2f}, {effect.high:.2f}], or by the other "
        f"four seeds' own contrasts {fmean(contrasts):.2f} [{by_seed[0]:.2f}, {by_seed[1]:.2f}]"
    )
    assert said in " ".join(PAGE.split())


def test_which_published_effects_one_seed_more_could_have_shown(runs: list[Run]) -> None:
    assert "Those of (c), (d) and (e) lie where the effect of one more seed would lie" in PAGE
    assert "That of (f), 4.3 points, does not" in PAGE
    [one] = run_sets(runs)
    asked = [found.question for found in findings(one, HONEST)]
    inside = [
        (question.claim, low <= question.published <= high)
        for question in asked
        if question.one_seed is not None and question.published is not None
        for _, low, high in [question.one_seed]
    ]
    assert inside == [*((claim, True) for claim in "cdee"), ("f", False)]


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
    for text in [*texts, *(manifest_path(folder).read_text() for folder in FOLDERS)]:
        # An absolute path, or one that leaves the sweep's own folders.
        assert not re.search(r"""(^|["'\s=(])(/|~)\w""", text)
        assert "../" not in text.replace('"../teachers/', "")
    for run in all_runs:
        assert json.loads(run.paths.record.read_text())["error"] is None
