"""Who waits at Ctrl-C; ``tests/faults/test_kill.py`` sees that workers end their step."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bitstill.sweep import patience as module
from bitstill.sweep.patience import patience


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


def test_a_second_ctrl_c_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_in_front_of_a_terminal", lambda: True)
    looks: list[int] = []

    def at_work() -> bool:
        looks.append(1)
        assert len(looks) == 1, "it goes on waiting"
        signal.raise_signal(signal.SIGINT)
        return True

    with pytest.raises(KeyboardInterrupt), patience(at_work):
        signal.raise_signal(signal.SIGINT)
    assert looks == [1]


def test_workers_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_in_front_of_a_terminal", lambda: True)
    monkeypatch.setattr(module, "_SECONDS", 0.1)
    looks = iter([True] * 20)
    with pytest.raises(KeyboardInterrupt), patience(lambda: next(looks, False)):
        signal.raise_signal(signal.SIGINT)
    assert any(looks)


def test_the_handler_is_put_back_whatever_happens() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="bad luck"), patience(lambda: True):
        raise ValueError("bad luck")
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_nothing_is_done() -> None:
    """No signal gets there, and no handler can be set from there."""

    def handler() -> object:
        with patience(lambda: True):
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(handler).result() is signal.getsignal(signal.SIGINT)


ASKED = "from bitstill.sweep.patience import _in_front_of_a_terminal as it; print(it(), flush=True)"
BEHIND = f"import subprocess as s, sys; s.run([sys.executable, '-c', '{ASKED}'], process_group=0)"


def test_who_is_in_front_of_a_terminal_knows_it() -> None:
    """A session takes the first terminal that it opens; its other groups are in the background."""
    terminal, theirs = os.openpty()
    opened = f"open({os.ttyname(theirs)!r}); "
    answers = [
        subprocess.run(  # noqa: S603
            [sys.executable, "-c", code], start_new_session=True, capture_output=True, check=True
        ).stdout.split()
        for code in (ASKED, f"held = {opened}{ASKED}", f"held = {opened}{BEHIND}")
    ]
    os.close(terminal)
    os.close(theirs)
    assert answers == [[b"False"], [b"True"], [b"False"]]
