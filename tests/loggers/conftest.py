"""Small runs with loggers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Configure

from bitstill import train
from bitstill.runs import RunPaths
from bitstill.runs.identity import directory_name
from bitstill.runs.identity import identity as identity_of


@pytest.fixture
def said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[str]]:
    """Returns what the loggers have said so far."""
    monkeypatch.delenv("WANDB_MODE")  # else the first test of a process is told that it is not read
    return lambda: [
        one.message for one in caplog.records if one.name.startswith("bitstill.loggers")
    ]


@pytest.fixture
def run_here(
    configure: Configure, tmp_path: Path, few_images: tuple[str, ...]
) -> Callable[..., RunPaths]:
    """Trains a small run into a sweep's folder."""

    def run(*overrides: str) -> RunPaths:
        config = configure(tmp_path, "loss=gt_soft_hard", "name=mine", *few_images, *overrides)
        identity = identity_of(config, config.data.identity())
        paths = RunPaths(tmp_path / "mine" / directory_name(config, identity))
        train.run(config, paths.directory)
        return paths

    return run
