"""Killed at any moment and started again, a sweep ends as one that nothing happened to."""

import fcntl
import os
import pty
import random
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.conftest import PARALLEL, SWEPT

from bitstill.runs import RunPaths, RunRecord, read_record
from bitstill.runs.locks import is_worked_on

pytestmark = pytest.mark.slow


def wait_for(condition: Callable[[], bool], process: Any) -> None:
    """Wait for something that a process will do."""
    ends = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.02)


def record_in(directory: Path) -> RunRecord | None:
    return read_record(RunPaths(directory))


def has_epoch(place: Any, label: str) -> bool:
    """Whether a run in progress has finished an epoch."""
    for directory in place.folder.glob(f"mine/{label}*"):
        record = record_in(directory)
        if record is not None and record.status == "running" and record.epoch:
            return True
    return False


def killed_at_random(
    place: Any, finished: Any, undisturbed: Any, arguments: tuple[str, ...], *, kills: int
) -> None:
    """Start a sweep, kill it, start it again; compare its end with an undisturbed sweep's.

    A sweep that comes to its end before it has been killed often enough begins from nothing.
    """
    moments = random.Random(1)  # noqa: S311
    while kills:
        process, before = place.start(*arguments), epochs(place)
        # From "nothing is loaded yet" to "in the middle of an epoch", whatever the machine's speed.
        goal = moments.choice((0, 0, 1, 2))
        while epochs(place) < before + goal and process.poll() is None:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.5 if goal else 4))
        if process.poll() is None:
            place.kill(process)
            kills -= 1
        else:
            process.communicate()
            ends_like(place, finished, undisturbed, arguments)
            shutil.rmtree(place.folder)
    ends_like(place, finished, undisturbed, arguments)


def ends_like(place: Any, finished: Any, undisturbed: Any, arguments: tuple[str, ...]) -> None:
    """Bring a sweep to its end, with the same curves, weights, selections and tables."""
    code, out, err = place.run(*arguments)
    assert code == 0, err
    assert place.results() == undisturbed
    assert out.replace(str(place.folder), "") == finished.tables.replace(str(finished.folder), "")
    hidden = [path for path in place.folder.glob("*/*/.*") if path.name != ".hydra"]
    assert not hidden, "half a file is left"


def epochs(place: Any) -> int:
    """How many epochs have been finished, of students and teachers."""
    records = [record_in(directory) for directory in place.directories()]
    return sum(record.epoch for record in records if record is not None)


def test_a_sweep_that_is_killed_twenty_times(place: Any, finished: Any, undisturbed: Any) -> None:
    killed_at_random(place, finished, undisturbed, SWEPT, kills=20)


def test_a_parallel_sweep_that_is_killed_six_times(
    place: Any, finished: Any, undisturbed: Any
) -> None:
    killed_at_random(place, finished, undisturbed, (*SWEPT, *PARALLEL), kills=6)


def workers(leader: int) -> list[int]:
    """The processes of a parallel sweep that do its runs, by what Linux says of them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            command = (path / "cmdline").read_text()
        except OSError:  # it has ended meanwhile
            continue
        if parent == leader and "loky.backend.popen_loky" in command:
            found.append(int(path.name))
    return found


def test_a_worker_that_is_killed_does_not_end_the_sweep(place: Any, undisturbed: Any) -> None:
    """By SIGTERM, which nobody handles there, as by SIGKILL: it is gone without a word."""
    process = place.start(*SWEPT, *PARALLEL)
    wait_for(lambda: has_epoch(place, "hard"), process)
    found = workers(process.pid)
    assert found
    os.kill(found[0], signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert place.results() == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_goes_on_exactly(
    place: Any, undisturbed: Any, number: signal.Signals
) -> None:
    process = place.start("loss=hard", anew=True)
    wait_for(lambda: has_epoch(place, "hard"), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("bitstill: interrupted; ")
    assert "Traceback" not in err
    [directory] = place.directories()
    stopped = record_in(directory)
    assert stopped is not None
    assert stopped.status == "interrupted"
    assert 1 <= stopped.epoch < 6

    code, _, err = place.run("loss=hard")
    assert code == 0, err
    results = place.results()
    name = f"mine/{directory.name}"
    assert results.metrics == {name: undisturbed.metrics[name]}
    assert results.weights == {name: undisturbed.weights[name]}
    assert results.selections == {name: undisturbed.selections[name]}
    log = (directory / "train.log").read_text()
    assert log.count(": epoch 1 of 6: ") == 1, "what was done is not done again"
    assert "lightning" not in log, "a process that has just imported Lightning is as quiet"


def logs(place: Any) -> str:
    return "".join(path.read_text() for path in sorted(place.folder.glob("*/*/train.log")))


def test_two_sweeps_train_their_teacher_once(place: Any, undisturbed: Any) -> None:
    processes = [
        place.start("-m", f"loss={loss}", f"name={loss}") for loss in ("soft", "soft_hard")
    ]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    results = place.results()
    [teacher] = (name for name in results.weights if name.startswith("teachers/"))
    assert results.weights[teacher] == undisturbed.weights[teacher]
    assert len(results.weights) == 3
    assert logs(place).count("epoch 1 of 6: ") == 3, "a teacher and two students"


def test_two_processes_on_one_run_train_it_once(place: Any, undisturbed: Any) -> None:
    processes = [place.start("loss=hard") for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    [(name, weights)] = place.results().weights.items()
    assert weights == undisturbed.weights[name]
    assert place.results().metrics[name] == undisturbed.metrics[name]
    assert logs(place).count("epoch 1 of 6: ") == 1
    assert not is_worked_on(RunPaths(place.folder / name))


def test_ctrl_c_in_a_terminal_lets_workers_end_their_step(place: Any, undisturbed: Any) -> None:
    """The terminal sends it to the sweep and to its workers, which then leave a checkpoint each."""
    keyboard, terminal = pty.openpty()
    process = place.start(
        *(*SWEPT, *PARALLEL),
        stdin=subprocess.DEVNULL,  # as in a loop that reads a list
        preexec_fn=lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0),
    )
    wait_for(lambda: has_epoch(place, "hard"), process)
    os.write(keyboard, b"\x03")
    _, err = process.communicate(timeout=60)
    os.close(keyboard)
    os.close(terminal)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("bitstill: interrupted; ")
    assert "Traceback" not in err
    statuses = [record.status for path in place.directories() if (record := record_in(path))]
    assert "interrupted" in statuses
    assert "running" not in statuses, "no worker was killed at work"
    code, _, err = place.run(*SWEPT, *PARALLEL)
    assert code == 0, err
    assert place.results() == undisturbed
