"""What of a sweep is kept in a repository."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.asked import absent, asked_again
from tests.report.conftest import shifted, write_run, write_sweep
from typer.testing import CliRunner

from bitstill.cli import app
from bitstill.errors import UserError
from bitstill.report.content import build
from bitstill.report.gradients import GRID, Ratio, gradient_ratios
from bitstill.report.keep import keep
from bitstill.report.sweeps import read_sweep
from bitstill.runs import RunPaths, known_record
from bitstill.runs.manifest import manifest_path, read_manifest, write_manifest
from bitstill.training.teachers import stored_logits, verify

CELLS = [("teacher", None), ("hard", 15.0), ("soft_hard", 15.0)]
ARGUMENTS = """\
- loss=hard
- data.path=../my/digits
- '+paths.output=/mine: out'
- name=made
- data.xpath=kept
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep with all files that a run may leave."""
    folder = write_sweep(tmp_path / "sweep", shifted, seeds=range(2), cells=CELLS)
    for path in folder.glob("*/run.json"):
        paths = RunPaths(path.parent)
        paths.overrides.parent.mkdir()
        paths.overrides.write_text(ARGUMENTS)
        for file in (paths.weights, paths.checkpoint, paths.packed, paths.lock, paths.composed):
            file.write_bytes(b"heavy")
        (paths.directory / "train.log").write_text("said")
    write_manifest(folder, map(asked_again, read_sweep(folder)))
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_records_are_kept_and_one_packed_student(sweep: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    result = CliRunner().invoke(app, ["keep", str(sweep), str(target)])
    assert result.exit_code == 0, result.output
    assert "6 finished runs kept" in result.output
    assert "and so not kept: the logits of 1 teacher that they read" in result.output
    runs = [path.parent.name for path in sweep.glob("*/run.json")]
    names = ("run.json", "metrics.csv", "correctness.npz", ".hydra/overrides.yaml")
    expected = {f"{run}/{name}" for run in runs for name in names}
    assert files(target) == expected | {"sweep.json", "hard-15.0-0/student.bitstill"}
    assert {
        path.read_bytes() == (sweep / path.relative_to(target)).read_bytes()
        for path in target.rglob("*.npz")
    } == {True}
    assert manifest_path(target).read_text() == manifest_path(sweep).read_text()


def test_teachers_are_kept_for_their_logits(sweep: Path, tmp_path: Path) -> None:
    """A student finds them there, and asks for no weights."""
    [run] = [run for run in read_sweep(sweep) if run.record.cell == "teacher"][:1]
    identity = run.record.identity
    stored = RunPaths(tmp_path / "teachers" / identity)
    write_manifest(sweep, [asked_again(run, stored)])
    stored.directory.mkdir(parents=True)
    assert keep(sweep, tmp_path / "early" / "sweep").runs == 6
    assert not (tmp_path / "early" / "teachers").exists()  # its logits have not been asked for
    run.record.write(stored)
    stored.weights.write_bytes(b"heavy")
    logits = stored_logits(stored, lambda: torch.arange(20.0).reshape(2, 10))
    keep(sweep, tmp_path / "kept" / "sweep")
    store = tmp_path / "kept" / "teachers"
    assert files(store) == {f"{identity}/run.json", f"{identity}/train_logits.safetensors"}
    kept = RunPaths(store / identity)
    verify(kept)
    assert torch.equal(stored_logits(kept, lambda: pytest.fail("computed again")), logits)
    assert known_record(kept) == run.record


def test_folders_in_arguments_are_left_open(sweep: Path, tmp_path: Path) -> None:
    keep(sweep, tmp_path / "kept")
    [run] = [run for run in read_sweep(tmp_path / "kept") if run.record.cell == "teacher"][:1]
    words = [
        "loss=hard",
        "data.path=FOLDER",
        "+paths.output=FOLDER",
        "name=made",
        "data.xpath=kept",
    ]
    assert run.command == " ".join(["bitstill", "train", *words])


def test_unfinished_runs_are_kept_once_they_are_finished(sweep: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    failed = write_run(sweep, "soft", 15.0, 0, 90.0, status="failed")
    write_run(sweep, "soft", 15.0, 1, 90.0, status="interrupted")
    assert keep(sweep, target).runs == 6
    plain = json.loads(failed.record.read_text())
    failed.record.write_text(json.dumps(plain | {"status": "done"}))
    before = files(target)
    assert keep(sweep, target).runs == 7
    assert before < files(target)


@pytest.mark.parametrize("fails", [False, True])
def test_a_report_on_what_is_kept_says_the_same(sweep: Path, tmp_path: Path, fails: bool) -> None:
    """A failed run has come to its end, too: nothing waits for it, here or there."""
    runs = read_sweep(sweep)
    write_manifest(sweep, map(asked_again, runs))
    if fails:
        dataclasses.replace(runs[-1].record, status="failed").write(runs[-1].paths)
    keep(sweep, tmp_path / "kept")
    [ours], [kept] = build([sweep]).sets, build([tmp_path / "kept"]).sets
    assert [one.rows for one in ours.tables] == [one.rows for one in kept.tables]
    waiting = [one.awaited for one in kept.main_findings]
    assert [one.awaited for one in ours.main_findings] == waiting
    assert not any(waiting)


def test_teachers_from_anywhere_are_kept_beside_the_folder(sweep: Path, tmp_path: Path) -> None:
    [run] = [run for run in read_sweep(sweep) if run.record.cell == "teacher"][:1]
    stored = RunPaths(tmp_path / "far" / "away" / "store" / run.record.identity)
    write_manifest(sweep, [asked_again(run, stored)])
    stored.directory.mkdir(parents=True)
    run.record.write(stored)
    stored_logits(stored, lambda: torch.arange(20.0).reshape(2, 10))
    keep(sweep, tmp_path / "kept" / "sweep")
    kept = RunPaths(tmp_path / "kept" / "teachers" / run.record.identity)
    assert kept.teacher_logits.exists()
    [expected] = [one for one in read_manifest(tmp_path / "kept" / "sweep") if one.stored]
    assert expected.stored is not None
    assert expected.stored.record.resolve() == kept.record.resolve()


def test_a_teacher_that_students_alone_have_read_is_kept(tmp_path: Path) -> None:
    """As of a sweep without ``model=teacher``: its own store is known from the student's record."""
    folder = tmp_path / "sweep"
    [teacher] = read_sweep(write_run(tmp_path / "away", "teacher", None, 0, 95.0).directory.parent)
    write_run(folder, "soft", 15.0, 0, 88.0)
    [student] = read_sweep(folder)
    identity = str(student.record.teacher_identity)
    stored = RunPaths(tmp_path / "teachers" / identity)
    stored.directory.mkdir(parents=True)
    teacher.record.write(stored)
    stored_logits(stored, lambda: torch.arange(20.0).reshape(2, 10))
    keep(folder, tmp_path / "kept" / "sweep")
    kept = RunPaths(tmp_path / "kept" / "teachers" / identity)
    assert kept.teacher_logits.read_bytes() == stored.teacher_logits.read_bytes()
    assert kept.record.exists()


def test_measured_gradients_are_kept(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratios = {seed: {t: (1 + seed) / t**2 for t in GRID} for seed in range(2)}
    limits = {seed: {t: (3 + seed) / t for t in GRID} for seed in range(2)}

    def measured(run: object, sample: object) -> Ratio:
        seed = run.record.seed  # type: ignore[attr-defined]
        return Ratio("soft_hard", seed, ratios[seed], limits[seed])

    with monkeypatch.context() as patch:
        patch.setattr("bitstill.report.gradients._measured", measured)
        keep(sweep, tmp_path / "kept")
    [kept] = build([tmp_path / "kept"]).sets
    found = gradient_ratios(kept.runs, None)
    assert [one.measured for one in found] == list(ratios.values())
    assert [one.limit for one in found] == list(limits.values())
    [claim] = [
        one for one in kept.main_findings if one.question.name.startswith("soft_hard: ratio")
    ]
    assert claim.effect is not None
    assert claim.effect.estimate == pytest.approx(0)
    assert claim.n == 2


def test_gradients_of_other_temperatures_are_refused(sweep: Path) -> None:
    path = RunPaths(sweep / "soft_hard-15.0-0").gradients
    path.write_text(json.dumps({"T": (np.array(GRID) + 1).tolist(), "measured": [], "limit": []}))
    with pytest.raises(UserError, match=r"gradients.json cannot be read .*other temperatures"):
        gradient_ratios(build([sweep]).sets[0].runs, None)


def test_one_student_is_packed_though_an_earlier_seed_is_finished_later(
    sweep: Path, tmp_path: Path
) -> None:
    late = RunPaths(sweep / "hard-15.0-0")
    content = late.record.read_text()
    late.record.write_text(content.replace('"status": "done"', '"status": "running"'))
    keep(sweep, tmp_path / "kept")
    assert list((tmp_path / "kept").glob("*/*.bitstill")) == [
        tmp_path / "kept" / "hard-15.0-1" / "student.bitstill"
    ]
    late.record.write_text(content)
    keep(sweep, tmp_path / "kept")
    assert list((tmp_path / "kept").glob("*/*.bitstill")) == [
        tmp_path / "kept" / "hard-15.0-0" / "student.bitstill"
    ]


@pytest.mark.parametrize("name", ["folder", "home", "host", "here"])
def test_what_names_this_machine_is_refused(
    sweep: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr("platform.node", lambda: "alpha-7")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    text = {"folder": str(sweep), "home": "/home/somebody/x", "host": "run on alpha-7"}
    text["here"] = str(tmp_path / "here" / "images")
    (sweep / "hard-15.0-0" / "metrics.csv").write_text(text[name])
    with pytest.raises(UserError, match=r"metrics.csv of hard-15.0-0 names .*nothing was kept"):
        keep(sweep, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_machine_may_be_called_as_a_setting(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "student")
    keep(sweep, tmp_path / "kept")
    assert '"student"' in (tmp_path / "kept" / "hard-15.0-0" / "run.json").read_text()


def test_two_sweeps_in_one_folder_ask_for_the_runs_of_both(sweep: Path, tmp_path: Path) -> None:
    other = write_sweep(tmp_path / "other", shifted, seeds=range(7, 9), cells=[("soft", 10.0)])
    write_manifest(other, [absent(other, "soft T=10", 9)])
    keep(sweep, tmp_path / "kept")
    before = manifest_path(tmp_path / "kept").read_text()
    assert before == manifest_path(sweep).read_text()
    keep(other, tmp_path / "kept")
    found = json.loads(manifest_path(tmp_path / "kept").read_text())["runs"]
    assert found == [
        *json.loads(before)["runs"],
        *json.loads(manifest_path(other).read_text())["runs"],
    ]


def test_a_sweep_is_not_kept_in_itself(sweep: Path) -> None:
    with pytest.raises(UserError, match="is the sweep itself"):
        keep(sweep, sweep)


def test_damaged_arguments_are_one_line(sweep: Path, tmp_path: Path) -> None:
    RunPaths(sweep / "hard-15.0-0").overrides.write_text("- [a")
    with pytest.raises(UserError, match=r"overrides.yaml cannot be read .*: move it away"):
        keep(sweep, tmp_path / "kept")


def test_a_folder_that_cannot_be_written_is_named(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"kept cannot be written \(.*\): give another folder$"):
        keep(sweep, tmp_path / "file" / "kept")


def test_a_run_that_has_failed_in_its_first_epoch_is_kept_too(sweep: Path, tmp_path: Path) -> None:
    failed = write_run(sweep, "soft", 15.0, 0, 90.0, status="failed")
    failed.metrics.unlink()
    failed.correctness.unlink()
    assert keep(sweep, tmp_path / "kept").runs == 6
    assert files(tmp_path / "kept" / failed.directory.name) == {"run.json"}
