"""``bitstill`` in forks of a process that has loaded torch: a third of a new one's time."""

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.synchronize import Event
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["bitstill.application", "bitstill.train"])


class Forked:
    """A process, as ``subprocess.Popen`` would show it: the leader of a group.

    What it writes goes into a folder.
    """

    def __init__(
        self, arguments: list[str], environment: dict[str, str], outputs: Path, first: str
    ) -> None:
        self._outputs = outputs
        leads = _CONTEXT.Event()
        self._process = _CONTEXT.Process(
            target=_become, args=(arguments, environment, Path.cwd(), outputs, leads, first)
        )
        self._process.start()
        assert leads.wait(60)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end: stdout, stderr."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("bitstill", timeout or 0)
        out, err = ((self._outputs / name).read_text() for name in ("out", "err"))
        return out, err


def _become(
    arguments: list[str],
    environment: dict[str, str],
    home: Path,
    outputs: Path,
    leads: Event,
    first: str,
) -> None:
    """Be ``bitstill`` from here on."""
    os.setsid()
    os.chdir(home)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(outputs / name, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    leads.set()
    exec(first, {})  # noqa: S102  # our own words
    from bitstill.cli import main

    sys.argv = ["bitstill", *arguments]
    main()
