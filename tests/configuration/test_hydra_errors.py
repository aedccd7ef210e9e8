"""What cannot be used, in one line: whether Hydra finds out, or the check of what it composes."""

from pathlib import Path

import pytest
import torch
from hydra.errors import MissingConfigException
from tests.conftest import SMALL, Train

from bitstill import application
from bitstill.configuration.hydra_errors import explain_hydra
from bitstill.runs import known_runs

# Wrong arguments, and what the one line on stderr has to name: what was received, what is allowed.
# More of them, in a folder whose every byte is looked at, are in tests/faults/input.
WRONG = {
    "unknown choice": (
        ["loss=hrad"],
        ["loss=hrad", "gt_soft_hard, hard, soft, soft_hard", "did you mean hard?"],
    ),
    "bare number": (["temperature=20"], ["temperature=20", "T15", "temperature.value=20"]),
    "hydra's, no word": (["hydra/launcher=3"], ["a choice must be a word: see bitstill train"]),
    "no number": (["temperature=hot"], ["temperature=hot", "T1, T10, T100, T15, T50"]),
    "T zero": (["temperature.value=0"], ["temperature.value = 0", "above 0"]),
    "method": (
        ["quantizer.method=dorfea"],
        ["quantizer.method = dorfea", "mean_scaled, dorefa", "did you mean dorefa?"],
    ),
    "list of choices": (
        ["loss=[soft,hard]"],
        ["loss=[soft,hard]", "give one", "-m loss=soft,hard"],
    ),
    "several, alone": (["loss=soft,hard"], ["'loss=soft,hard'", "give -m to run each"]),
    "several numbers": (["schedule.l2=1,2"], ["give -m to run each, or brackets for a list"]),
    "other choice's": (
        ["data.path=x"],
        ["data.path is not a setting of the data that", "data=NAME"],
    ),
    "home": (["data.path=~/x"], ["'data.path=~/x' cannot be read", "'KEY=\"VALUE\"'"]),
    "project": (
        ["logger=wandb", "logger.wandb.project=a/b"],
        ["logger.wandb.project = 'a/b'", "without any of / \\ # ? % :"],
    ),
    "search path": (
        ["hydra.searchpath=[/dev/null/x]"],
        ["hydra.searchpath = /dev/null/x is not a folder", "give one that is there"],
    ),
    "shell": (["-sc"], ["--shell-completion", "give bitstill --install-completion"]),
    "part of nothing": (["-pseed"], ["--package", "give --cfg job"]),
    "one to show": (
        ["-m", "--cfg", "job", "loss=hard,soft"],
        ["one another: give one, to bitstill train; --cfg shows one run"],
    ),
    "cell, list": (["-m", "loss=[soft,hard]"], ["loss=[soft,hard]", "give one"]),
    "seed word": (["seed=abc"], ["seed = 'abc'", "a whole number"]),
    "seed missing": (["seed="], ["seed = ''", "a whole number"]),
    "unknown key": (["loss.temprature=3"], ["loss.temprature is not a setting", "temperature?"]),
    "key of Lightning": (
        ["trainer.max_epochs=3"],
        ["is not a setting", "did you mean schedule.epochs?"],
    ),
    "key of a teacher": (["teacher.epochs=3"], ["did you mean teacher.schedule.epochs?"]),
    "no folder": (["--config-dir=nosuch"], ["nosuch is not a folder: give one that is there"]),
    "joblib": (["-m", "hydra/launcher=joblib"], ["give hydra/launcher=basic, parallel or slurm"]),
    "added key, short": (["+sede=3"], ["sede is not a setting", "did you mean seed?"]),
    "left out key": (["~trainer.thread"], ["trainer.thread is not a setting", "trainer.threads?"]),
    "left out null": (["~data.checksum"], ["~data.checksum is not a setting to leave out", "null"]),
    "forced key": (["++epochs=3"], ["epochs is not a setting", "schedule"]),
    "unparsable": (["seed=[1"], ["'seed=[1'", "KEY=VALUE"]),
    "no override": (["hello"], ["'hello'", "KEY=VALUE"]),
    "gpu": (["trainer=gpu"], ["trainer.accelerator = gpu", "trainer=cpu"]),
    "checksum": (["data.checksum=abc"], ["data.checksum", "abc", "data.checksum="]),
    "launcher": (
        ["hydra/launcher=paralel"],
        ["hydra/launcher=paralel", "give one of basic, parallel, slurm", "mean parallel?"],
    ),
    "logger": (["logger=tensorbord"], ["logger=tensorbord", "csv, tensorboard, wandb"]),
    "added logger": (["+logger.foo.x=1"], ["logger.foo", "tensorboard, wandb"]),
    "deleted setting": (["~schedule.epochs"], ["schedule.epochs is not set", "schedule.epochs="]),
    "deleted group": (["~loss"], ["loss is not set"]),
    "experiment": (["experiment=tabel1"], ["experiment=tabel1", "did you mean table1?"]),
    "name of teachers": (["name=teachers"], ["name = 'teachers'", "paths.teachers, give another"]),
    "another launcher's": (["hydra.launcher.n_jobs=2"], ["give hydra/launcher=parallel or slurm"]),
    "deleted nothing": (["~trainer.thread"], ["is not a setting", "did you mean trainer.threads?"]),
    "several tags": (
        ["logger=wandb", "logger.wandb.tags=a,b"],
        ["'logger.wandb.tags=[A,B]'"],
    ),
    "added experiments": (["+experiment=quick,study"], ["experiment has several values"]),
    "variable": (["name=${oc.env:BITSTILL_NOPE}"], ["BITSTILL_NOPE is not set in the environ"]),
    "refers nowhere": (["--cfg=job", "--resolve", "name=${nope}"], ["a setting refers to nope"]),
    "experiments": (["experiment=quick,study"], ["experiment has several values", "give one"]),
    "listed logger": (
        ["logger=[tensorboard,wandv]"],
        ["logger=wandv is not a choice", "csv, tensorboard, wandb; did you mean wandb?"],
    ),
    "resolved part": (["--cfg=hydra", "--resolve"], ["paths.output", "give --cfg all"]),
    "interval": (["-m", "seed=interval(1,5)"], ["interval() is not a list", "range(START,STOP)"]),
    "config path": (["--config-path", "own"], ["--config-path", "give --config-dir FOLDER"]),
    "entity": (["logger=wandb", "logger.wandb.entity=a/b"], ["entity = 'a/b'", "a user or a team"]),
    "log's level": (["hydra.hydra_logging.root.level=NOPE"], ["hydra_logging cannot be used"]),
    "log's handlers": (["hydra.job_logging.root.handlers=[x]"], ["job_logging or hydra.hydra_log"]),
    "log's version": (["hydra.hydra_logging.version=2"], ["hydra/job_logging=NAME"]),
    "log's loggers": (["hydra.verbose=[x,3]"], ["hydra.verbose = ['x', 3]", "true or false"]),
    "unlisted": (["temperature=T20"], ["temperature=T20", ", or temperature.value=20"]),
    "value of settings": (["paths=foo"], ["paths is not a single value: give paths.KEY=VALUE"]),
    "added twice": (["+name=foo"], ["name is there already: give name=VALUE, without +"]),
    "forced group": (["++loss=hard"], ["loss is a group: give loss=CHOICE, without ++"]),
    "detached": (["-m", "sweep.detach=true"], ["sweep.detach = true", "hydra/launcher=slurm"]),
    "swept launcher": (
        ["-m", "hydra/launcher=slurm", "hydra.launcher.partition=a,b"],
        ["hydra.launcher.partition has several values, and a sweep has one: give one"],
    ),
    "run and sweep": (["-r", "-m"], ["--run, -m, --cfg and --info exclude one another"]),
    "cell, choice": (["-m", "loss=hard,sfot"], ["loss=sfot", "did you mean soft?"]),
    "cell, bare number": (["-m", "temperature=T15,20"], ["temperature=20", "T15"]),
    "cell, key": (["-m", "loss.temprature=1,2"], ["loss.temprature is not a setting"]),
    "cell, data": (["-m", "data.val_fraction=0.1,2"], ["data.val_fraction=2", "[0, 1)"]),
}


# What only the run itself finds out: its record says so too.
FOUND_RUNNING = {"gpu"}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_explained_in_one_line(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    arguments, named = WRONG[case]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # Options come first: argparse takes positional arguments in one piece.
    options = [one for one in arguments if one.startswith("-") or one == "job"]
    overrides = [one for one in arguments if one not in options]
    code, out, err = train(*options, *SMALL, f"paths.output={tmp_path}", *overrides)
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("bitstill: ")
    for words in named:
        assert words in lines[0]
    assert code == 2
    assert out == ""
    records = [record for _, record in known_runs(tmp_path / "default")]
    assert len(records) == (case in FOUND_RUNNING)
    for record in records:
        assert record.status == "failed"
        assert record.error is not None
        assert record.error["type"] == "UserError"
        assert f"bitstill: {record.error['message']}" == lines[0]


def test_a_part_that_is_not_there_is_named(train: Train) -> None:
    said = "package 'nope' not found in config\n"  # Hydra's words
    assert train("--cfg", "job", "-p", "nope") == (2, "", said)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("name=Größe", "at ö"),
        ("name=a=b", "mismatched input '='"),
        ("seed=1,,2", "extraneous input ','): give"),
    ],
)
def test_what_cannot_be_read_is_said(train: Train, given: str, reason: str) -> None:
    code, _, err = train(given)
    assert code == 2
    assert err.startswith(f"bitstill: {given!r} cannot be read ({reason}")


def test_a_wrong_input_is_explained_again_in_the_same_process(
    restored: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hydra is told to raise its errors through an environment variable, which must not stay."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    for _ in range(2):
        assert application.train(["loss=hrad"]) == 2
        assert capsys.readouterr().err.startswith("bitstill: loss=hrad")


def test_an_experiment_of_ones_own_without_its_package_is_said(
    train: Train, tmp_path: Path
) -> None:
    (tmp_path / "experiment").mkdir()
    text = "defaults:\n  - override /schedule: quick\nname: mine\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    code, _, err = train("--config-dir", str(tmp_path), "experiment=mine")
    assert code == 2
    assert "give an experiment's file '# @package _global_' as first line" in err


def test_slurm_without_its_extra() -> None:
    """As Hydra says it where submitit is not installed; here it is."""
    error = MissingConfigException(
        "In 'hydra/launcher/slurm': Could not load 'hydra/launcher/submitit_slurm'.",
        missing_cfg_file="hydra/launcher/submitit_slurm",
    )
    needed = "hydra/launcher=slurm needs submitit: pip install 'bitstill[slurm]'"
    assert explain_hydra([error], []) == needed


def test_an_error_that_nobody_has_raised_is_of_no_library() -> None:
    assert explain_hydra([TypeError("made, and not raised")], []) is None
