"""Two runs that no test changes."""

import pytest
from tests.conftest import Configure, putting_back
from tests.trained import Trained, trained


@pytest.fixture(scope="session")
def distilled(tmp_path_factory: pytest.TempPathFactory, configure: Configure) -> Trained:
    """A student of two epochs and its teacher."""
    folder = tmp_path_factory.mktemp("distilled")
    config = configure(folder, "loss=soft_hard", "schedule.epochs=2")
    with putting_back():
        return trained(config, folder)


@pytest.fixture(scope="session")
def hard(tmp_path_factory: pytest.TempPathFactory, configure: Configure) -> Trained:
    """A student of one epoch, without a teacher."""
    folder = tmp_path_factory.mktemp("hard")
    with putting_back():
        return trained(configure(folder, "loss=hard"), folder)
