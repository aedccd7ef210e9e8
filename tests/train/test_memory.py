"""What a run leaves in the memory of its process."""

import gc
from pathlib import Path

import pytest
from tests.conftest import Configure
from torch.nn import Parameter

from bitstill.train import run


def parameters() -> int:
    """Count the weights of networks that are in memory, garbage included."""
    return sum(type(one) is Parameter for one in gc.get_objects())


@pytest.mark.usefixtures("restored")
def test_no_network_stays_behind_its_run(
    configure: Configure, few_images: tuple[str, ...], tmp_path: Path
) -> None:
    """Not until Python collects: a sweep's process would be as large as two runs, now and then."""
    gc.collect()
    before = parameters()
    gc.disable()
    try:
        run(configure(tmp_path, *few_images, "loss=hard"), tmp_path / "run")
        assert parameters() == before
    finally:
        gc.enable()
