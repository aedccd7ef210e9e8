"""Lets workers finish their step after Ctrl-C, which in a terminal reaches all processes."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_SECONDS = 15.0  # enough for an evaluation and a checkpoint


@contextmanager
def patience(at_work: Callable[[], bool]) -> Iterator[None]:
    """Delay Ctrl-C until the workers, which also received it, have ended; a second acts at once.

    A terminal sends Ctrl-C to all its foreground processes, and joblib kills its workers as soon as
    this process is interrupted.

    Args:
        at_work: returns whether a worker is still at work.
    """
    # Python handles signals in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:  # a script's background process; its workers ignore Ctrl-C, too
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before)
        ends = time.monotonic() + (_SECONDS if _in_front_of_a_terminal() else 0)
        while time.monotonic() < ends and at_work():
            time.sleep(0.05)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _in_front_of_a_terminal() -> bool:
    try:
        with Path("/dev/tty").open("rb") as terminal:  # since standard input may be a file
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # there is no terminal
        return False
