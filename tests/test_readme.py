"""README tells the truth: its commands run, its Python runs, its files are there. So do others."""

import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import SMALL
from typer.testing import CliRunner

from bitstill.application import train
from bitstill.cli import app
from bitstill.loss_inputs import GROUP
from bitstill.runs import known_runs
from bitstill.runs.curves import read_curves

pytestmark = pytest.mark.usefixtures("restored")  # a command leaves log handlers

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands(name: str) -> list[list[str]]:
    """Return the arguments of README's indented `bitstill NAME` commands."""
    prefix = f"    .venv/bin/bitstill {name} "
    lines = [line for line in README.splitlines() if line.startswith(prefix)]
    assert lines
    return [shlex.split(line.removeprefix(prefix)) for line in lines]


@pytest.mark.parametrize("arguments", commands("train"), ids=" ".join)
def test_a_train_command_is_understood(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument for argument in arguments if argument != "--help"]
    overrides = [argument for argument in given if argument != "-m"]
    single = [override for override in overrides if "," not in override and "(" not in override]
    assert train([*single, "--cfg", "job"]) == 0
    assert "_target_: bitstill.models" in capsys.readouterr().out


def test_a_shell_understands_the_commands() -> None:
    """Unquoted, the brackets of ``range(3)`` are an error of syntax."""
    lines = re.findall(r"^    (?:make|\.venv/bin/bitstill) .*$", README, re.MULTILINE)
    assert len(lines) > 8
    subprocess.run(["bash", "-n"], input="\n".join(lines), text=True, check=True)  # noqa: S607


def said(arguments: list[str]) -> str:
    """Return what a command says; it must succeed."""
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    return shown.output


@pytest.mark.slow
def test_the_sweep_runs_and_its_status_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    [sweep] = [arguments for arguments in commands("train") if "-m" in arguments]
    shortened = [one for one in sweep if not one.startswith("seed=")]
    assert train([*shortened, *SMALL, "hydra/launcher=basic"]) == 0
    assert "Table 3" in capsys.readouterr().out
    [status] = commands("status")
    assert "5/5 done" in said(["status", status[0]])

    run = next(Path("multirun/mine").glob("soft-T10-*"))
    Image.new("RGB", (40, 40)).save("image.png")
    places = {
        "multirun/mine/RUN": str(run),
        "multirun/svhn-resplit": str(ROOT / "multirun/svhn-resplit"),
        "IMAGE...": "image.png",
    }
    for name, words in (("report", "Table 2"), ("predict", "image.png"), ("export", "bytes")):
        [arguments] = commands(name)
        for place, actual in places.items():
            arguments = [one.replace(place, actual) for one in arguments]
        assert words in said([name, *arguments])


def test_the_plan_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    [plan] = commands("plan")
    assert train(["-m", *plan, "hydra.sweeper.plan_only=true"]) == 0
    assert "15 runs" in capsys.readouterr().out


def test_the_python_runs() -> None:
    [block] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102  # our own words


@pytest.mark.slow
def test_the_python_of_its_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    assert len(blocks) == 5
    exec(compile("".join(blocks), "docs/python.md", "exec"), {})  # noqa: S102  # our own words
    out = capsys.readouterr().out
    assert "done " in out
    assert "soft_hard T=15 0 2 " in out
    assert "{'train/loss': tensor(" in out


def test_the_sweep_of_ones_own_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs/sweeps.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    names = re.findall(r"`sweeps/([\w/]+\.yaml)`[^`]*(?:`--config-dir[^`]*`[^`]*)?```yaml", page)
    monkeypatch.chdir(tmp_path)
    for name, block in zip(names, blocks, strict=True):
        file = Path("sweeps") / name
        file.parent.mkdir(parents=True)
        file.write_text(block)
    [plan] = re.findall(r"^    bitstill plan (--config-dir .*)$", page, re.MULTILINE)
    for given, runs in ([], "14 runs"), (["seed=0"], "7 runs"):
        assert train(["-m", *shlex.split(plan), *given, "hydra.sweeper.plan_only=true"]) == 0
        assert runs in capsys.readouterr().out
    given = ["--config-dir", "sweeps", "hydra/launcher=lab", "--cfg", "hydra"]
    assert train([*given, "-p", "hydra.launcher"]) == 0
    shown = capsys.readouterr().out
    assert "SlurmLauncher" in shown
    assert "constraint: avx512" in shown
    assert "max_num_timeout: 10" in shown


@pytest.mark.slow
def test_the_loss_of_ones_own_is_swept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    install: Callable[..., None],
    few_images: tuple[str, ...],
) -> None:
    """In other processes; its package is installed as pip would."""
    page = (ROOT / "docs/sweeps.md").read_text().partition("## Your own loss")[2]
    [function] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    project = tomllib.loads(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0])["project"]
    [entry] = project["entry-points"][GROUP].values()
    given = {"name": project["name"], "version": project["version"], "entry": entry}
    install(tmp_path / "site", function, **given)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)
    choice = Path("sweeps/loss/margin.yaml")
    choice.parent.mkdir(parents=True)
    choice.write_text(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    [command] = re.findall(r"^    bitstill train (-m .*)$", page, re.MULTILINE)
    shortened = [one for one in shlex.split(command) if not one.startswith("seed=")]
    launched = ["schedule.epochs=1", "hydra/launcher=parallel"]
    assert train([*shortened, *few_images, *launched]) == 0
    losses = {}
    for paths, record in known_runs(Path("multirun/default")):
        assert record.versions["mine"] == "1"
        assert record.config["loss"]["_reads"] == ["labels", "temperature"]
        [epoch] = read_curves(paths)
        losses[record.config["loss"]["margin"]] = epoch["train/loss"]
    assert losses[0.5] > losses[0.2]


def test_make_lists_its_targets() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    assert {"demo", "test"} <= set(re.findall(r"^make (\w+)", listed.stdout, re.MULTILINE))


def test_what_is_linked_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target
