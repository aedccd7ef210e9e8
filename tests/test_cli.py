"""The command line, right and wrong."""

import io
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest
import torch
from hydra.errors import MissingConfigException
from joblib.externals.loky import get_reusable_executor
from tests.conftest import SMALL, Train

from bitstill import __version__, application
from bitstill.cli import main
from bitstill.configuration.completion import complete
from bitstill.configuration.hydra_errors import explain_hydra
from bitstill.explanations import explain, print_error
from bitstill.runs import known_runs
from bitstill.training.tasks import DivergedError

Bitstill = Callable[..., "subprocess.CompletedProcess[str]"]

# Wrong arguments, and what the one line on stderr has to name: what was received, what is allowed.
# More of them, in a folder whose every byte is looked at, are in tests/faults/input.
WRONG = {
    "unknown choice": (
        ["loss=hrad"],
        ["loss=hrad", "gt_soft_hard, hard, soft, soft_hard", "did you mean hard?"],
    ),
    "bare number": (["temperature=20"], ["temperature=20", "T15", "temperature.value=20"]),
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
    "other choice's": (["data.path=x"], ["data.path is no setting of the data that", "data=NAME"]),
    "home": (["data.path=~/x"], ["'data.path=~/x' cannot be read", "'KEY=\"VALUE\"'"]),
    "project": (
        ["logger=wandb", "logger.wandb.project=a/b"],
        ["logger.wandb.project = 'a/b'", "without any of / \\ # ? % :"],
    ),
    "search path": (
        ["hydra.searchpath=[/dev/null/x]"],
        ["hydra.searchpath = /dev/null/x is no folder", "give one that is there"],
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
    "unknown key": (["loss.temprature=3"], ["loss.temprature is no setting", "temperature?"]),
    "key of Lightning": (["trainer.max_epochs=3"], ["no setting", "did you mean schedule.epochs?"]),
    "key of a teacher": (["teacher.epochs=3"], ["did you mean teacher.schedule.epochs?"]),
    "no folder": (["--config-dir=nosuch"], ["nosuch is no folder: give one that is there"]),
    "joblib": (["-m", "hydra/launcher=joblib"], ["give hydra/launcher=basic, parallel or slurm"]),
    "added key, short": (["+sede=3"], ["sede is no setting", "did you mean seed?"]),
    "forced key": (["++epochs=3"], ["epochs is no setting", "schedule"]),
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
    "deleted nothing": (["~trainer.thread"], ["no setting", "did you mean trainer.threads?"]),
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
        ["logger=wandv is no choice", "csv, tensorboard, wandb; did you mean wandb?"],
    ),
    "resolved part": (["--cfg=hydra", "--resolve"], ["paths.output", "give --cfg all"]),
    "interval": (["-m", "seed=interval(1,5)"], ["interval() is no list", "range(START,STOP)"]),
    "config path": (["--config-path", "own"], ["--config-path", "give --config-dir FOLDER"]),
    "entity": (["logger=wandb", "logger.wandb.entity=a/b"], ["entity = 'a/b'", "a user or a team"]),
    "log's level": (["hydra.hydra_logging.root.level=NOPE"], ["hydra_logging cannot be used"]),
    "log's handlers": (["hydra.job_logging.root.handlers=[x]"], ["job_logging or hydra.hydra_log"]),
    "log's version": (["hydra.hydra_logging.version=2"], ["hydra/job_logging=NAME"]),
    "log's loggers": (["hydra.verbose=[x,3]"], ["hydra.verbose = ['x', 3]", "true or false"]),
    "unlisted": (["temperature=T20"], ["temperature=T20", ", or temperature.value=20"]),
    "value of settings": (["paths=foo"], ["paths is no single value: give paths.KEY=VALUE"]),
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
    "cell, key": (["-m", "loss.temprature=1,2"], ["loss.temprature is no setting"]),
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
    ("setting", "said"),
    [
        ("sweep.detach=true", "sweep.detach = true is not allowed here"),
        (
            "hydra/launcher=parallel hydra.launcher.n_jobs=0",
            "hydra.launcher.n_jobs = 0 is not allowed: give a number",
        ),
    ],
)
def test_a_plan_is_refused_what_its_sweep_is(
    train: Train, few_images: tuple[str, ...], tmp_path: Path, setting: str, said: str
) -> None:
    arguments = ("-m", *few_images, f"paths.output={tmp_path}", *setting.split())
    code, out, err = train(*arguments, "hydra.sweeper.plan_only=true")
    assert (code, out) == (2, "")
    assert err.startswith(f"bitstill: {said}")
    assert train(*arguments) == (2, "", err)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--frobnicate"], ["--frobnicate is no flag", "bitstill train --help"]),
        (["seed=1", "--cfg", "foo"], ["--cfg", "'foo'", "job", "bitstill train --help"]),
        (["seed=1", "--cfg"], ["--cfg", "expected one argument", "bitstill train --help"]),
    ],
)
def test_a_wrong_flag_is_explained_in_one_line(
    train: Train, arguments: list[str], named: list[str]
) -> None:
    code, out, err = train(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("bitstill: ")
    assert all(words in err for words in named), err


def test_a_configuration_is_shown_by_flags_between(train: Train) -> None:
    code, out, err = train("loss=soft", "--cfg", "job", "seed=7", "-p", "loss")
    assert (code, err) == (0, "")
    assert "_target_: bitstill.losses.soft" in out
    assert "seed" not in out


def test_a_link_to_nowhere_is_said(train: Train, tmp_path: Path) -> None:
    """As to a disk that is not mounted."""
    link = tmp_path / "output"
    link.symlink_to(tmp_path / "nowhere")
    code, _, err = train(*SMALL, f"paths.output={link}")
    assert code == 2
    assert err.splitlines()[-1].startswith(f"bitstill: {link}")
    assert "is a link to what is not there" in err


def test_a_folder_that_nobody_can_make_is_said(train: Train) -> None:
    """The one above it is there, as under an automounter."""
    code, _, err = train(*SMALL, "paths.output=/proc/x")
    assert code == 2
    assert err.splitlines()[-1].endswith("'/proc/x': mend that, and run the same command again")


@pytest.mark.parametrize(
    ("given", "reason"), [("name=Größe", "at ö"), ("name=a=b", "mismatched input '='")]
)
def test_what_cannot_be_read_is_said(train: Train, given: str, reason: str) -> None:
    code, _, err = train(given)
    assert code == 2
    assert err.startswith(f"bitstill: {given!r} cannot be read ({reason}")


@pytest.mark.parametrize("name", ["of two\nlines", "of-\u2028-more", f"{'x' * 100}/" * 50])
def test_an_error_is_one_line_whatever_a_name_is(command: Train, name: str) -> None:
    """A long name does not bury what to do."""
    code, out, err = command("status", name)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("bitstill: ")
    assert err.endswith(("such as multirun/quick\n", "run the same command again\n"))
    assert len(err) < 1000


def test_a_wrong_input_is_explained_again_in_the_same_process(
    restored: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hydra is told to raise its errors through an environment variable, which must not stay."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    for _ in range(2):
        assert application.train(["loss=hrad"]) == 2
        assert capsys.readouterr().err.startswith("bitstill: loss=hrad")


def test_full_errors_are_for_developers(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["bitstill", "train", "loss=hrad"])
    with pytest.raises(MissingConfigException):
        main()


def test_so_are_full_errors_of_a_run(
    restored: None, few_images: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    too_high = "schedule.learning_rates=[1e36,1e36,1e36]"
    with pytest.raises(DivergedError):
        application.train([*few_images, f"paths.output={tmp_path}", too_high])


def test_a_defect_of_ours_shows_its_traceback(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bitstill.train

    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(bitstill.train, "run", broken)
    code, _, err = train(f"paths.output={tmp_path}")
    assert code == 1
    assert "Traceback" in err
    assert "ZeroDivisionError: ours" in err


def test_help_names_the_commands(command: Train) -> None:
    code, out, err = command("--help")
    assert (code, err) == (0, "")
    assert "train" in out


def test_an_unknown_command_is_refused(command: Train) -> None:
    code, _, err = command("trian")
    assert code == 2
    assert "trian" in err
    assert "Traceback" not in err


def test_the_script_and_the_module_say_the_version(bitstill: Bitstill) -> None:
    script = Path(sys.executable).with_name("bitstill")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == bitstill("--version").stdout == f"bitstill {__version__}\n"


@pytest.mark.parametrize("shown", [["--help"], ["--cfg", "job"], ["--hydra-help"]])
def test_a_reader_that_has_left_is_told_nothing(shown: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "bitstill", "train", *shown]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


class _PollOfMacOS:
    """Tells nothing of a file that it is asked for nothing of: no error, and no end either."""

    def __init__(self, poll: Callable[[], select.poll] = select.poll) -> None:
        self._poll = poll()

    def register(self, file: int, events: int) -> None:
        if events:
            self._poll.register(file, events)

    def poll(self, milliseconds: int) -> list[tuple[int, int]]:
        return self._poll.poll(milliseconds)


@pytest.mark.parametrize("poll", [select.poll, _PollOfMacOS])
@pytest.mark.parametrize("has_left", [True, False])
def test_only_a_reader_that_has_left_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    poll: Callable[[], object],
    has_left: bool,
) -> None:
    """Another pipe that is broken is a defect."""
    reading, writing = os.pipe()
    if has_left:
        os.close(reading)
    monkeypatch.setattr(select, "poll", poll)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert print_error(BrokenPipeError()) == 1
    assert ("BrokenPipeError" in capsys.readouterr().err) is not has_left
    if not has_left:
        os.close(reading)


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    script = f"rmdir {place}; exec {sys.executable} -P -m bitstill train --cfg job"
    done = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", script], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    line = "bitstill: the folder that you are in is not there any more: cd to another"
    assert done.stderr.splitlines() == [line]


def test_help_of_train_shows_every_choice(train: Train) -> None:
    code, out, err = train("--help")
    assert code == 0
    assert err == ""
    for words in ("loss: gt_soft_hard, hard, soft, soft_hard", "temperature: T1, T10", "study"):
        assert words in out
    assert "$" not in out.replace("$APP", "")
    assert "--multirun" in out


def test_show_the_configuration_and_run_nothing(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = train("--cfg", "job", "loss=soft", "temperature=T50")
    assert code == 0
    assert err == ""
    assert "_target_: bitstill.losses.soft\n" in out
    assert "value: 50\n" in out
    assert not list(tmp_path.iterdir())


def test_show_the_configuration_resolved(train: Train) -> None:
    code, out, _ = train("--cfg", "job", "--resolve", "temperature=T50")
    assert code == 0
    assert "value: 2500\n" in out


# Prints the modules that a command has imported, last.
_IMPORTED = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules))))
from bitstill.cli import main
sys.argv[0] = "bitstill"
main()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["sync", "--help"],
        ["dashboard", "--help"],
        ["train", "--help"],
        ["train", "--cfg", "job"],
        ["train", "loss=hrad"],
    ],
)
def test_what_is_slow_to_import_is_not_imported_to_say_something(arguments: list[str]) -> None:
    command = [sys.executable, "-c", _IMPORTED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    modules = json.loads(done.stdout.splitlines()[-1])
    assert "bitstill.cli" in modules
    assert not {"torch", "pytorch_lightning", "lightning_fabric", "wandb", "sklearn"} & set(modules)


def test_a_sweep_that_is_refused_has_not_imported_torch(tmp_path: Path) -> None:
    arguments = ["train", "-m", "seed=0,-1", f"paths.output={tmp_path}"]
    command = [sys.executable, "-c", _IMPORTED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.stderr.startswith("bitstill: seed = -1")
    assert not {"torch", "pytorch_lightning"} & set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("words", "incomplete", "found"),
    [
        ([], "loss=", {"loss=hard", "loss=soft", "loss=soft_hard", "loss=gt_soft_hard"}),
        ([], "loss=ha", {"loss=hard"}),
        (["loss"], "ha", {"hard"}),  # bash cuts at "="
        (["loss", "="], "so", {"soft", "soft_hard"}),
        (["loss=soft"], "trainer=g", {"trainer=gpu"}),
        (["loss=soft", "-m"], "trainer=g", {"trainer=gpu"}),
        (["-m"], "trainer=g", {"trainer=gpu"}),
        (["-m"], "loss=hard,so", {"loss=hard,soft", "loss=hard,soft_hard"}),
        (["-m", "loss"], "soft,ha", {"soft,hard"}),
        ([], "logger=[csv,wa", {"logger=[csv,wandb"}),
        ([], "temperature.v", {"temperature.value="}),
        (["experiment", "=", "quick"], "temperature=T15", {"temperature=T15"}),
        (["experiment", "=", "quick", "loss", "="], "ha", {"hard"}),
        (["experiment", "=", "quick", "loss"], "ha", {"hard"}),
        (["--config-dir", "nowhere"], "loss=ha", {"loss=hard"}),
    ],
)
def test_completion(words: list[str], incomplete: str, found: set[str]) -> None:
    assert set(complete(words, incomplete)) == found


def test_choices_in_a_folder_of_ones_own_are_completed(tmp_path: Path) -> None:
    (tmp_path / "temperature").mkdir()
    (tmp_path / "temperature" / "T20.yaml").write_text("value: 20")
    for flag in (["--config-dir", str(tmp_path)], ["loss=soft", f"--config-dir={tmp_path}"]):
        assert complete(flag, "temperature=T2") == ["temperature=T20"]


@pytest.mark.parametrize(
    ("line", "found"),
    [("bitstill train loss=( sch", ""), ("bitstill train experiment = quick trainer = g", "gpu")],
)
def test_what_bash_asks_for(line: str, found: str) -> None:
    """After a mistake nothing: an error would be printed into the line."""
    script = Path(sys.executable).with_name("bitstill")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    variables = {**os.environ, **asked, "_BITSTILL_COMPLETE": "complete_bash"}
    done = subprocess.run([script], env=variables, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.stdout.strip(), done.stderr) == (found, "")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("sweep.detach=true", "sweep.detach = true is not allowed for one run: give -m, too"),
        ("hydra/launcher=slurm", "hydra/launcher=slurm launches sweeps: give -m, too"),
        ("hydra/launcher=parallel", "hydra/launcher=parallel launches sweeps: give -m, too"),
        (
            "hydra/launcher=slurm hydra.launcher.foo=1",
            "hydra.launcher.foo is no setting of hydra/launcher=slurm: see --cfg hydra -p "
            "hydra.launcher",
        ),
    ],
)
def test_what_is_for_sweeps_is_not_for_one_run(
    train: Train, few_images: tuple[str, ...], tmp_path: Path, given: str, line: str
) -> None:
    """As on a cluster's login node, where nobody wants a training."""
    code, out, err = train(*few_images, f"paths.output={tmp_path}", *given.split())
    assert (code, out, err) == (2, "", f"bitstill: {line}\n")


def test_an_experiment_of_ones_own_without_its_package_is_said(
    train: Train, tmp_path: Path
) -> None:
    (tmp_path / "experiment").mkdir()
    text = "defaults:\n  - override /schedule: quick\nname: mine\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    code, _, err = train("--config-dir", str(tmp_path), "experiment=mine")
    assert code == 2
    assert "give an experiment's file '# @package _global_' as first line" in err


def test_a_name_that_the_terminal_does_not_know_is_written_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(sys, "argv", ["bitstill", "--version"])
    with pytest.raises(SystemExit):
        main()
    shown.write("\u65e5.png \udcff.png")
    shown.flush()
    assert shown.buffer.getvalue().endswith(b"\\u65e5.png \\udcff.png")


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


def test_what_a_worker_raises_is_not_blamed_on_its_launcher() -> None:
    with pytest.raises(ValueError, match="invalid literal") as caught:
        joblib.Parallel(n_jobs=2)(joblib.delayed(int)(text) for text in "ab")
    get_reusable_executor().shutdown()
    assert explain(caught.value, []) is None, "it has a traceback, and the worker's"
