"""The command line under attack: in this process, in a folder whose every byte is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Train, made_up, putting_back, run_main
from tests.students import HALF_SCALE, QUANTIZER

from bitstill.models import Student
from bitstill.runs import RunPaths
from bitstill.training.weights import save_weights

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


@pytest.fixture
def run(place: Path) -> RunPaths:
    """A student's finished run, in a moment."""
    paths = RunPaths(place / "sweep" / "hard-T15-seed0")
    paths.directory.mkdir(parents=True)
    schedule = {"epochs": 1, "batch_size": 2}
    config = {
        "name": "sweep",
        "data": {"source": "digits"},
        "loss": {"_target_": "bitstill.losses.hard"},
        "quantizer": QUANTIZER,
        "batch_norm": {"momentum": 0.01, "epsilon": 1e-3},
        "soft_weight": {"_target_": "bitstill.losses.constant_weight", "value": 225.0},
        "schedule": schedule,
        "teacher": {"seed": 0, "schedule": schedule},
        "evaluation": {"batch_norm": "running"},
        "trainer": {"accelerator": "cpu", "precision": "float32", "threads": 1},
    }
    row = {"epoch": 1.0, "val/accuracy": 0.5, "test/accuracy": 0.5}
    selections = {"running": {"last": row, "best_val": row, "best_test": row}}
    made_up(
        config=config, selections=selections, images={"train": 8, "val": 0, "test": 8}, epoch=1
    ).write(paths)
    paths.metrics.write_text("epoch,train/loss,test/accuracy\n1,0.5,0.5\n")
    bits = np.packbits(np.array([1, 0] * 4, dtype=bool))
    np.savez(paths.correctness, **{f"running/{name}": bits for name in selections["running"]})  # type: ignore[arg-type]
    save_weights(Student(quantizer=HALF_SCALE), paths.weights, {})
    return paths
