"""The wheel holds what an installed bitstill needs, and the sdist what is in the repository."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The packages whose modules docs/architecture.md names, and the house itself.
NAMED = ("", "configuration", "report", "runs", "sweep", "training")


def python(*arguments: str, **options: object) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert isinstance(done.stdout, str)
    return done.stdout


def test_the_house_is_as_documented() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    tree = text[text.index("    src/bitstill/") : text.index("    src/hydra_plugins/")]
    package = ROOT / "src" / "bitstill"
    modules = {one.name for name in NAMED for one in (package / name).glob("[!_]*.py")}
    assert set(re.findall(r"\b[a-z_]+\.py\b", tree)) == modules
    packages = {f"{one.parent.name}/" for one in package.glob("*/__init__.py")}
    assert packages <= set(re.findall(r"\b[a-z_]+/", tree))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    [built] = folder.iterdir()
    return built


@pytest.mark.slow
def test_the_wheel_holds_everything(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = (path for path in (ROOT / "src").rglob("*") if path.is_file())
    sources = [path for path in files if "__pycache__" not in path.parts]
    wanted = {path.relative_to(ROOT / "src").as_posix() for path in sources}
    wanted |= {
        f"bitstill/conf/{path.relative_to(ROOT / 'conf').as_posix()}"
        for path in (ROOT / "conf").rglob("*.yaml")
    }
    assert {
        "bitstill/conf/train.yaml",
        "bitstill/py.typed",
        "hydra_plugins/bitstill_sweeper.py",
    } <= wanted
    assert wanted <= names
    # And nothing else but what the format asks for.
    assert {name for name in names - wanted if ".dist-info/" not in name} == set()


@pytest.mark.slow
def test_the_sdist_holds_the_repository(tmp_path: Path) -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    python("-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(ROOT))
    [built] = tmp_path.iterdir()
    with tarfile.open(built) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(  # noqa: S603
        [git, "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    assert tracked <= held


@pytest.mark.slow
def test_an_installed_wheel_reads_its_own_conf(wheel: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    python(
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
        "--target",
        str(target),
        str(wheel),
    )
    # A mark that the checkout's copy does not have.
    choice = target / "bitstill" / "conf" / "temperature" / "T15.yaml"
    choice.write_text("value: 15.25\n")
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def run(*arguments: str) -> str:
        return python(*arguments, cwd=elsewhere, env=environment)

    found = run("-c", "import bitstill; print(bitstill.__file__)").strip()
    assert Path(found) == target / "bitstill" / "__init__.py"
    assert "value: 15.25\n" in run("-m", "bitstill", "train", "--cfg", "job")
    assert "temperature: T1, T10, T100, T15, T50" in run("-m", "bitstill", "train", "--help")
    assert "GridSweeper" in run("-m", "bitstill", "train", "--cfg", "hydra")
    assert not list(elsewhere.iterdir())
