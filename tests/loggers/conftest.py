"""Small runs with loggers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bitstill import train
from bitstill.identity import directory_name
from bitstill.identity import identity as identity_of
from bitstill.runs import RunPaths
from bitstill.schema import TrainConfig

Configure = Callable[..., TrainConfig]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Returns what the loggers have said so far."""
    return lambda: [
        one.message for one in caplog.records if one.name.startswith("bitstill.loggers")
    ]


@pytest.fixture
def run_here(configure: Configure, tmp_path: Path) -> Callable[..., RunPaths]:
    """Trains a small run into a sweep's folder."""

    def run(*overrides: str) -> RunPaths:
        config = configure(tmp_path, "loss=gt_soft_hard", "name=mine", *overrides)
        identity = identity_of(config, config.data.identity())
        paths = RunPaths(tmp_path / "mine" / directory_name(config, identity))
        train.run(config, paths.directory)
        return paths

    return run
