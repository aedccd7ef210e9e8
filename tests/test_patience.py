"""Who waits at Ctrl-C; ``tests/faults/test_kill.py`` sees that workers end their step."""

import os
import signal
from collections.abc import Iterator

import pytest

from bitstill import patience as module
from bitstill.patience import patience


@pytest.fixture(autouse=True)
def _handler_stays() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_who_ignores_ctrl_c_goes_on() -> None:
    """As what a script has started in the background does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with patience(lambda: True):
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("in_front", [True, False])
def test_workers_are_waited_for_in_front_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, in_front: bool
) -> None:
    monkeypatch.setattr(module, "_in_front_of_a_terminal", lambda: in_front)
    looks = iter([True, True, False])
    with pytest.raises(KeyboardInterrupt), patience(lambda: next(looks)):
        signal.raise_signal(signal.SIGINT)
    assert len(list(looks)) == (0 if in_front else 3)
