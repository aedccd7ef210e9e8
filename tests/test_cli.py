"""The command line, right and wrong."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Train

from bitstill import __version__
from bitstill.bench.paired import Report
from bitstill.cli import main

Bitstill = Callable[..., "subprocess.CompletedProcess[str]"]


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
    ("given", "line"),
    [
        ("sweep.detach=true", "sweep.detach = true is not allowed for one run: give -m, too"),
        ("hydra/launcher=slurm", "hydra/launcher=slurm launches sweeps: give -m, too"),
        ("hydra/launcher=parallel", "hydra/launcher=parallel launches sweeps: give -m, too"),
        (
            "hydra/launcher=slurm hydra.launcher.foo=1",
            "hydra.launcher.foo is not a setting of hydra/launcher=slurm: see --cfg hydra -p "
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


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("deploy", {"rounds": 3}),
        ("train", {"rounds": 4, "batch_size": 2, "threads": 5}),
        ("sweep", {"rounds": 1, "epochs": 2}),
    ],
)
def test_what_is_asked_for_is_measured(
    command: Train, monkeypatch: pytest.MonkeyPatch, kind: str, asked: dict[str, int]
) -> None:
    def bench(**given: int) -> Report:
        return Report("s", 1, 1, [], {}, given, "a processor")

    monkeypatch.setattr(f"bitstill.bench.{kind}.bench", bench)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]
    code, out, _ = command("bench", kind, "--json", *options)
    assert (code, json.loads(out)["facts"]) == (0, asked)


def test_a_dashboard_is_made_as_asked_for(
    command: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(place: str, **given: object) -> str:
        return f"{place} {given}"

    monkeypatch.setattr("bitstill.dashboards.command.make_dashboard", make)
    asked = {"project": "me/digits", "output": tmp_path, "save": True}
    given = ("--save", "--project=me/digits", f"--output={tmp_path}")
    assert command("dashboard", "multirun/mine", *given) == (0, f"multirun/mine {asked}\n", "")
