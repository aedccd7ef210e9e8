"""What wandb has written, read back by wandb's own reader."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def files(folder: Path) -> dict[str, list[Path]]:
    """Return the files of a sweep's runs by their ids, a file a sitting, the oldest first."""
    found: dict[str, list[Path]] = {}
    for file in sorted((folder / "wandb").glob("*run-*-*/run-*.wandb")):
        found.setdefault(file.stem.removeprefix("run-"), []).append(file)
    return found


def _inspect(*arguments: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *arguments]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def records(file: Path) -> list[Json]:
    return [json.loads(line) for line in _inspect(str(file)).splitlines()]


def overview(file: Path, *, ended: bool = True) -> Json:
    """Return state, exit code, config and summary of a file; wandb writes in its own process."""
    until = time.monotonic() + 10
    while True:
        found: Json = json.loads(_inspect("--summary", str(file)))
        if not ended or found["exit_code"] is not None or time.monotonic() > until:
            return found
        time.sleep(0.2)


def history(file: Path) -> list[Json]:
    return [one["history"]["item"] for one in records(file) if one["type"] == "history"]


def epochs(file: Path) -> list[int]:
    """Return the epochs whose loss is logged, in the order of the file."""
    return [row["epoch"] for row in history(file) if "train/loss" in row]
