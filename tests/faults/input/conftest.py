"""The command line under attack: in this process, in a folder whose every byte is known."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Train, putting_back, run_main

# What a command may write to: its own output and the cache of decoded images.
OWN = ("output", "cache")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Read all below a folder but what a command may write to; folders and links by name."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if inside.parts[0] not in OWN:
            plain = path.is_file() and not path.is_symlink()
            found[str(inside)] = path.read_bytes() if plain else None
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, which is home and current folder too."""
    for name in ("output", "cache", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def attack(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Train:
    """Runs ``bitstill`` here, and sees that nothing was changed that is not the command's own."""

    def run(*arguments: str) -> tuple[int, str, str]:
        before = contents(place)
        with putting_back():
            ended = run_main(arguments, capfd, monkeypatch)
        assert contents(place) == before, "something else was written or damaged"
        return ended

    return run


@pytest.fixture
def refused(attack: Train) -> Callable[..., str]:
    """Runs what must be refused: exit code 2 and one line, which is returned."""

    def run(*arguments: str) -> str:
        code, out, err = attack(*arguments)
        assert "Traceback" not in err, err.splitlines()[-1:]
        lines = err.splitlines()
        assert len(lines) == 1, lines[-3:]
        assert lines[0].startswith("bitstill: "), err
        assert code == 2
        assert out == "" or arguments[0] == "report", out  # which prints its tables first
        return lines[0].removeprefix("bitstill: ")

    return run
