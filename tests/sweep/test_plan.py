"""Which runs a sweep has, and what running them does."""

import logging
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from tests.conftest import SMALL, Configure, Plan, Train, made_up
from tests.sweep.conftest import FINE, TOO_HIGH

import bitstill.application
import bitstill.sweep.preview
import bitstill.train
from bitstill import runs
from bitstill.errors import UserError
from bitstill.runs import RunRecord, in_store
from bitstill.runs.identity import directory_name, teacher_of
from bitstill.runs.identity import identity as identity_of
from bitstill.runs.status import look
from bitstill.schema import ConstantWeightConfig, TrainConfig
from bitstill.sweep.plan import PlannedRun, is_stopped, stop_at_failure


def test_a_sweep_has_one_folder(plan_runs: Plan) -> None:
    with pytest.raises(UserError, match=r"mine-0 and in .*mine-1: give name and paths.output no"):
        plan_runs("name=mine-${seed} seed=0", "name=mine-${seed} seed=1")
    assert (
        len(plan_runs("name=T${temperature.value} seed=0", "name=T${temperature.value} seed=1"))
        == 2
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("seed=0,1,2", "name=at-${now:%S-%f}"), None),  # one moment for all of the sweep
        (("seed=3,3", "name=mine-${seed}"), "mine-0 and in"),  # which Hydra would look into
    ],
)
def test_the_folder_is_hydras(
    train: Train, tmp_path: Path, given: tuple[str, ...], said: str | None
) -> None:
    code, _, err = train(
        *("-m", "hydra.sweeper.plan_only=true", f"paths.output={tmp_path}"), *given
    )
    assert code == (2 if said else 0), err
    assert (said or "") in err


@pytest.mark.parametrize(("on_failure", "stopped"), [("stop", True), ("continue", False)])
def test_a_sign_to_stop_is_for_those_who_asked_for_it(
    plan_runs: Plan, on_failure: str, stopped: bool
) -> None:
    """Another sweep in the folder may have."""
    [stopping] = plan_runs("sweep.on_failure=stop")
    [run] = plan_runs(f"sweep.on_failure={on_failure}")
    run.config.folder.mkdir()
    assert not is_stopped(run.config)
    stop_at_failure(run.config)
    assert is_stopped(run.config) == stopped
    stop_at_failure(stopping.config)
    assert is_stopped(run.config) == stopped


def test_one_run_of_a_sweep_that_is_described_is_said(
    train: Train, few_images: tuple[str, ...], tmp_path: Path
) -> None:
    """As an experiment's file that lacks ``hydra.mode`` does."""
    given = (*few_images, "schedule.epochs=1", f"paths.output={tmp_path}")
    said = "one run of a sweep that the configuration describes: -m runs all of them"
    grids = "hydra.sweeper.grids=[{seed: '1,2'}]"
    for more, is_said in (
        (("++hydra.sweeper.params={seed: '1,2'}",), True),
        ((grids,), True),
        ((grids, "hydra.mode=RUN"), False),  # as asked for
    ):
        code, out, err = train(*given, *more)
        assert code == 0, err
        assert (said in out + err) == is_said, more


def test_checking_many_runs_shows_progress(
    plan_runs: Plan,
    watch: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    watch()
    plan_runs("loss=hard", "loss=soft")
    assert "checking: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        (["model=teacher loss=hard", "model=teacher loss=soft"], 1),
        (["loss=hard soft_weight=constant", "loss=hard soft_weight=linear"], 1),
        (["loss=soft temperature=T15", "loss=soft temperature.value=15"], 1),
        (["loss=hard teacher.seed=1", "loss=hard teacher.seed=2"], 1),
        (["loss=soft teacher.seed=1", "loss=soft teacher.seed=2"], 2),
        (["loss=hard", "loss=soft", "model=teacher"], 3),
    ],
)
def test_the_same_run_is_run_once(
    plan_runs: Plan, asked: list[str], left: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = plan_runs(*asked)
    assert len(found) == left
    said = f"bitstill: {len(asked)} combinations are 1 run: some differ in what they do not read\n"
    assert (said in capsys.readouterr().err) == (left < len(asked))
    assert found[0].overrides == tuple(asked[0].split())


def test_runs_of_one_name_say_what_tells_them_apart(
    plan_runs: Plan,
) -> None:
    """What all share, and what their names say anyway, is left out."""
    common = "schedule.l2=0 loss=hard"
    bits = [
        f"{common} seed={seed} quantizer.weight_bits={one}" for seed in (0, 1) for one in (1, 2)
    ]
    assert [run.expected.name for run in plan_runs(*bits, f"{common} temperature=T1")] == [
        *(f"hard T=15 seed 0, quantizer.weight_bits={one}" for one in (1, 2)),
        *(f"hard T=15 seed 1, quantizer.weight_bits={one}" for one in (1, 2)),
        "hard T=1 seed 0",
    ]


def test_a_temperature_is_said_once(plan_runs: Plan) -> None:
    runs = [
        f"loss=hard temperature.value={value} quantizer.weight_bits={bits}"
        for value in (3, 4)
        for bits in (1, 2)
    ]
    assert [run.expected.name for run in plan_runs(*runs)] == [
        f"hard T={value} seed 0, quantizer.weight_bits={bits}"
        for value in (3, 4)
        for bits in (1, 2)
    ]


def test_a_bad_run_is_refused_before_anything_runs(
    plan_runs: Plan,
) -> None:
    with pytest.raises(UserError, match=r"^seed = -1 is not allowed"):
        plan_runs("seed=0", "seed=-1")


def test_a_run_knows_its_folder(plan_runs: Plan, tmp_path: Path) -> None:
    [run] = plan_runs("loss=soft name=mine")
    expected = run.expected
    name = directory_name(run.config, expected.identity)
    assert expected.paths.directory == tmp_path / "mine" / name
    assert expected.identity == identity_of(run.config, run.config.data.identity())
    assert (expected.name, expected.epochs) == ("soft T=15 seed 0", 1)
    taught = teacher_of(run.config)
    assert expected.stored == in_store(taught, identity_of(taught, run.config.data.identity()))
    assert expected.places == [expected.paths]
    [run] = plan_runs("loss=hard name=mine")
    assert run.expected.stored is None


def test_a_planned_teacher_knows_its_place_in_the_store(plan_runs: Plan, tmp_path: Path) -> None:
    [run] = plan_runs("model=teacher seed=3 schedule.epochs=7")
    stored = run.expected.stored
    assert stored is not None
    assert stored.directory == tmp_path / "teachers" / run.expected.identity
    assert (run.expected.name, run.expected.epochs) == ("teacher seed 3", 7)


# What is left to run, by what the record says and by sweep.rerun.
LEFT = {
    "none": {"missing", "interrupted", "running"},
    "failed": {"missing", "interrupted", "running", "failed"},
    "all": {"missing", "interrupted", "running", "failed", "done"},
}


@pytest.mark.parametrize("rerun", LEFT)
def test_what_is_left_is_for_the_record_and_rerun_to_say(plan_runs: Plan, rerun: str) -> None:
    [run] = plan_runs(f"loss=hard sweep.rerun={rerun}")
    left = {"missing"} if run.work(look(run.expected)) == "train" else set()
    paths, identity = run.expected.paths, run.expected.identity
    paths.directory.mkdir(parents=True)
    for status in ("running", "interrupted", "failed", "done"):
        made_up(identity=identity, status=status).write(paths)
        left |= {status} if run.work(look(run.expected)) == "train" else set()
    assert left == LEFT[rerun]


def test_another_runs_record_makes_no_run_done(plan_runs: Plan) -> None:
    [run] = plan_runs("loss=hard")
    run.expected.paths.directory.mkdir(parents=True)
    made_up(identity="f" * 64).write(run.expected.paths)
    assert run.work(look(run.expected)) == "train"


@pytest.mark.slow
def test_a_sweep_goes_on_past_a_failure_and_does_the_rest_later(
    train: Train, tmp_path: Path
) -> None:
    same = [*SMALL, f"paths.output={tmp_path}", "name=mine", "loss=hard"]
    rates = f"schedule.learning_rates={TOO_HIGH},{FINE}"  # the failing one is first
    code, out, err = train("-m", *same, rates)
    assert code == 1
    assert "Traceback" not in err
    assert err.startswith("2 runs: 0 skipped, 2 to do\n")
    records = {record.status: record for record in runs.load_sweep(tmp_path / "mine")}
    assert set(records) == {"done", "failed"}
    assert records["failed"].error is not None
    failure = records["failed"].error["message"]
    *_, headline, named = err.splitlines()
    assert headline == "bitstill: 1 of 2 runs are not done:"
    folder = next(tmp_path.glob(f"mine/*{records['failed'].identity[:10]}"))
    failing = "hard T=15 seed 0, schedule.learning_rates=[1e+36,1e+36,1e+36]"
    assert named == f"  {failing}: DivergedError: {failure} ({folder})"
    assert "DivergedError" in (folder / "train.log").read_text(), "its log says why"
    assert "Table 1" in out
    for line in (r"[01]/2 done.* 1 failed.*\] hard .*: failed", r"1/2 .*\] hard .*: done test "):
        assert re.search(rf"^\[{line}", err, re.MULTILINE)

    # The same command again does what is left, and nothing else.
    done = next(tmp_path.glob(f"mine/*{records['done'].identity[:10]}"))
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*")}
    code, _, err = train("-m", *same, rates)
    assert code == 1
    assert err.startswith("2 runs: 1 skipped, 1 to do\n")
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*")} == before

    code, out, err = train("-m", *same, f"schedule.learning_rates={FINE}")
    assert code == 0
    assert err == "1 run: 1 skipped, 0 to do\n"
    assert "Table 1" in out
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*")} == before


def test_an_interrupted_worker_begins_no_further_run(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue has more of them, and the sweep waits for those at work."""
    config, begun = configure(tmp_path), []

    def run(*_: object, **__: object) -> None:
        begun.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(bitstill.application, "_interrupted", threading.Event())
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's would be silent from here
    monkeypatch.setattr(bitstill.train, "run", run)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            bitstill.application._train_in_sweep(config, tmp_path / "mine" / "run")
    assert len(begun) == 1


def test_ctrl_c_ends_a_sweep(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def run(config: TrainConfig, directory: Path, **options: bool) -> RunRecord:
        begun.append(config.seed)
        raise KeyboardInterrupt

    monkeypatch.setattr(bitstill.train, "run", run)
    code, _, err = train("-m", *SMALL, f"paths.output={tmp_path}", "seed=0,1")
    assert code == 130
    assert begun == [0]
    assert err.splitlines()[-1].startswith("bitstill: interrupted; ")
    assert "Traceback" not in err


def test_what_a_choice_refers_to_is_of_each_run(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not of the configuration before anything is chosen, at T = 15 with seed 0."""
    file = tmp_path / "sweeps" / "experiment" / "tied.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "# @package _global_\n"
        "hydra:\n"
        "  mode: MULTIRUN\n"
        "  sweeper:\n"
        "    params: {teacher.seed: '${seed}', seed: 'range(3,${oc.env:SEEDS})'}\n"
        "    grids:\n"
        "      - {loss: soft_hard, soft_weight: constant, temperature: 'T10,T50',\n"
        "         soft_weight.value: '${temperature.value}'}\n"
    )
    monkeypatch.setenv("SEEDS", "5")
    planned: list[PlannedRun] = []
    monkeypatch.setattr(bitstill.sweep.preview, "show_plan", planned.extend)
    arguments = ["--config-dir", str(file.parents[1]), "experiment=tied", "data=digits"]
    assert train(*arguments, f"paths.output={tmp_path}", "hydra.sweeper.plan_only=true")[0] == 0
    found = set()
    for one in planned:
        assert isinstance(one.config.soft_weight, ConstantWeightConfig)
        found.add((one.config.temperature.value, one.config.soft_weight.value))
        assert one.config.teacher.seed == one.config.seed
    assert (len(planned), found) == (4, {(10, 10), (50, 50)})


@pytest.mark.parametrize(
    ("choice", "values"),
    [
        ("'1,${temperature.value}'", {(10, 1), (10, 10), (50, 1), (50, 50)}),
        ("'${square:${temperature.value}}'", {(10, 100), (50, 2500)}),
        ("'${oc.env:WEIGHTS}'", {(10, 3), (10, 4), (50, 3), (50, 4)}),
        ("'range(1,${temperature.value})'", None),
        ("'${oc.env:WEIGHTS},${temperature.value}'", None),
    ],
)
def test_what_a_choice_may_refer_to(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    choice: str,
    values: set[tuple[float, float]] | None,
) -> None:
    monkeypatch.setenv("WEIGHTS", "3,4")
    planned: list[PlannedRun] = []
    monkeypatch.setattr(bitstill.sweep.preview, "show_plan", planned.extend)
    grid = "{loss: soft_hard, soft_weight: constant, temperature: 'T10,T50'"
    file = tmp_path / "experiment" / "tied.yaml"
    file.parent.mkdir()
    file.write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    grids:\n"
        f"      - {grid}, soft_weight.value: {choice}}}\n"
    )
    arguments = ["--config-dir", str(tmp_path), "experiment=tied", "data=digits"]
    code, _, err = train(*arguments, "hydra.sweeper.plan_only=true")
    if values is None:
        assert code == 2
        assert f"soft_weight.value = {choice[1:-1]} is not allowed: what refers to a setting" in err
    else:
        assert {
            (one.config.temperature.value, one.config.soft_weight.value)  # type: ignore[attr-defined]
            for one in planned
        } == values


def test_a_sweep_from_a_file_runs_its_grids(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``experiment=table1`` on the digits, without the training."""
    done, real = [], bitstill.train.run

    def run(config: TrainConfig, directory: Path, **options: bool) -> RunRecord:
        done.append((config.is_teacher, config.loss_name, config.seed, directory.parent.name))
        return real(config, directory, **options)

    def fit(*arguments: object, **options: object) -> None:
        raise UserError("not today")

    monkeypatch.setattr(bitstill.train, "run", run)
    monkeypatch.setattr(bitstill.train, "_fit", fit)
    arguments = ["experiment=table1", "data=digits", "seed=3", f"paths.output={tmp_path}"]
    code, _, err = train("-m", *SMALL, *arguments)
    assert code == 1
    assert done == [(True, "hard", 3, "table1"), (False, "hard", 3, "table1")]
    assert "bitstill: 2 of 2 runs are not done:\n  teacher seed 3: UserError: not today" in err
    assert "\n  hard T=15 seed 3: UserError: not today" in err
    saved = OmegaConf.load(tmp_path / "table1" / "multirun.yaml")
    assert OmegaConf.select(saved, "hydra.sweeper.grids")

    # The file says that it is a sweep, so -m may be left out.
    done.clear()
    code, _, _ = train(*SMALL, *arguments)
    assert (code, len(done)) == (1, 2)


@pytest.mark.slow
def test_a_sweep_in_parallel_goes_on_past_failures(
    bitstill: Callable[..., Any], tmp_path: Path, few_images: tuple[str, ...]
) -> None:
    arguments = ["hydra/launcher=parallel", "hydra.launcher.n_jobs=2", f"paths.output={tmp_path}"]
    rates = f"schedule.learning_rates={TOO_HIGH},{FINE}"
    swept = ["loss=gt_soft_hard", "temperature=T10,T15", rates, *few_images]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = bitstill("train", "-m", *SMALL, *arguments, *swept, env=environment)
    assert done.returncode == 1, done.stderr
    first, *lines = done.stderr.splitlines()
    assert first == "4 runs: 0 skipped, 4 to do"
    for cell in ("gt_soft_hard T=10", "gt_soft_hard T=15"):
        good, bad = (f"{cell} seed 0, schedule.learning_rates={one}" for one in ("[0", "[1e"))
        [line] = [line for line in lines if f"] {good}" in line]
        assert re.search(r"\]: done test +\d+\.\d % \(exact\)  0:\d\d$", line)
        assert len([line for line in lines if f"] {bad}" in line and ": failed" in line]) == 1
        assert len([line for line in lines if line.startswith(f"  {bad}")]) == 1
    assert "bitstill: 2 of 4 runs are not done:" in lines
    records = runs.load_sweep(tmp_path / "default")
    assert sorted((record.cell, record.status) for record in records) == [
        ("gt_soft_hard T=10", "done"),
        ("gt_soft_hard T=10", "failed"),
        ("gt_soft_hard T=15", "done"),
        ("gt_soft_hard T=15", "failed"),
    ]
    assert "Table 4" in done.stdout
    assert "Table 2" not in done.stdout


@pytest.mark.parametrize("name", ["schedule", "teacher.schedule"])
def test_a_batch_of_more_than_all_images_is_refused_before_anything_runs(
    plan_runs: Plan, name: str
) -> None:
    with pytest.raises(UserError, match=rf"^{name}\.batch_size = 1294 is more than the 1293"):
        plan_runs(f"loss=soft {name}.batch_size=1294")
