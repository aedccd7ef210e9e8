"""The folder of a made-up sweep."""

from pathlib import Path

import pytest
from tests.asked import sweeps_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sweeps_folder(tmp_path)
