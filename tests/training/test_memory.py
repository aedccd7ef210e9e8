"""What stays with a process."""

import atexit
import gc
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from bitstill import application
from bitstill.training.memory import imported_to_stay

# In a process of its own: malloc keeps what it was told.
RESERVED = """
import resource
from bitstill.training.memory import give_back_freed_memory, keep_freed_memory

def addresses() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()

give_back_freed_memory()
before = addresses()
keep_freed_memory()
held = addresses()
keep_freed_memory()
again = addresses()
give_back_freed_memory()
given_back = addresses()
resource.setrlimit(resource.RLIMIT_AS, (before + 2**24, before + 2**24))
keep_freed_memory()
scarce = addresses()
print(*(one - before for one in (held, again, given_back, scarce)))
"""


@pytest.fixture
def collector() -> Iterator[None]:
    was = gc.isenabled()
    yield
    gc.unfreeze()
    (gc.enable if was else gc.disable)()


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("collects", [True, False])
def test_imports_leave_the_collector_as_it_was(collects: bool) -> None:
    (gc.enable if collects else gc.disable)()
    with imported_to_stay():
        assert not gc.isenabled()
    assert gc.isenabled() == collects
    assert gc.get_freeze_count() > 0


@pytest.mark.usefixtures("collector")
def test_triton_is_collected_at_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[object] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    with imported_to_stay():
        pass
    assert registered == [gc.unfreeze]


def test_a_reserve_is_held_once_until_a_failure_and_where_it_leaves_enough() -> None:
    done = subprocess.run([sys.executable, "-c", RESERVED], capture_output=True, text=True)  # noqa: S603
    held, again, given_back, scarce = (int(line) for line in done.stdout.split())
    growth = 2**18  # the heap may grow a little: by 2**17 at a time, as glibc has it
    assert 0 <= held - 2**24 < growth
    assert 0 <= again - held < growth
    assert given_back < growth
    assert scarce < growth


@pytest.mark.usefixtures("collector")
def test_so_does_what_cannot_be_imported() -> None:
    gc.enable()
    with pytest.raises(ImportError), imported_to_stay():
        raise ImportError
    assert gc.isenabled()


@pytest.mark.usefixtures("collector")
def test_what_runs_have_left_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the first run imports stays: each run's network is freed before the next."""
    application._import_training()
    monkeypatch.delattr(gc, "freeze")
    application._import_training()
