"""Run after run in one process: no growth in memory, file handles or threads.

Twelve runs each way; `BITSTILL_TEST_SOAK=200` asks for more.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.faults.conftest import PARALLEL

RUNS = int(os.environ.get("BITSTILL_TEST_SOAK", "12"))
SECONDS = 240 + 5 * RUNS  # until it is given up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 60)]

# One epoch; each run reads the images and the logits of one teacher.
RUN = ("loss=soft", "teacher.seed=0", "schedule.epochs=1", "teacher.schedule.epochs=1")

FAIL = "schedule.learning_rates=[1e37,1e37,1e37]"

# Near the end of each run, always at the same place: its process measures itself and its parent,
# which is the sweep's where runs have processes of their own.
MEASURE = """
import ctypes, gc, os, sys, time

# The least of some looks: the sweep's progress, another thread, may just be reading a record. What
# leaks is there in every one of them.
def held(folder):
    looks = []
    for _ in range(5):
        looks.append(len(os.listdir(folder)))
        time.sleep(0.02)
    return min(looks)

def measure(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(os.environ["AT"]):
        gc.collect()
        # What is free stays with the process, and how much that is hangs on which pieces lie where:
        # what leaks is in use.
        ctypes.CDLL(None).malloc_trim(0)
        for number in (os.getpid(), os.getppid()):
            with open(f"/proc/{number}/status") as file:
                status = dict(line.split(":", 1) for line in file)
            memory, threads = status["VmRSS"].split()[0], status["Threads"].strip()
            handles = held(f"/proc/{number}/fd")
            with open(os.environ["MEASURED"] + f"/{number}", "a") as file:
                file.write(f"{memory} {handles} {threads}\\n")

sys.addaudithook(measure)
"""


class Measured(NamedTuple):
    kibibytes: int
    handles: int
    threads: int


def soaked(
    place: Any, folder: Path, *arguments: str, at: str = "student.bitstill"
) -> dict[int, list[Measured]]:
    """Do the runs; return what was measured whenever a file was written, by process."""
    folder.mkdir()
    environment = place.hooked(MEASURE, MEASURED=str(folder), AT=at)
    seeds = f"seed=range(0,{RUNS})"
    code, _, err = place.run("-m", *RUN, seeds, *arguments, seconds=SECONDS, env=environment)
    assert code == (1 if FAIL in arguments else 0), err
    assert f"[{RUNS} failed]" if FAIL in arguments else f"[{RUNS}/{RUNS} done]" in err
    return {
        int(file.name): [
            Measured(*(int(number) for number in line.split()))
            for line in file.read_text().splitlines()
        ]
        for file in folder.iterdir()
        if int(file.name) != os.getpid()
    }


def does_not_grow(measured: list[Measured], *, kept: int = 256) -> None:
    """Compare the last half with the run before it; Hydra keeps a configuration a run: 0.19 MiB.

    Args:
        measured: in the order of the runs.
        kept: KiB that a run may leave behind.
    """
    middle, *later = measured[len(measured) // 2 :]
    print(f"{len(measured)} runs: from {middle} to {later[-1]}")  # noqa: T201  # shown by -s
    assert max(one.handles for one in later) <= middle.handles
    assert max(one.threads for one in later) <= middle.threads
    assert later[-1].kibibytes - middle.kibibytes <= 4096 + kept * len(later)


def test_runs_in_one_process(place: Any, tmp_path: Path) -> None:
    [measured] = soaked(place, tmp_path / "measured").values()
    assert len(measured) == RUNS
    does_not_grow(measured)


def test_runs_in_parallel(place: Any, tmp_path: Path) -> None:
    measured = soaked(place, tmp_path / "measured", *PARALLEL)
    assert len(measured) == 3, "the sweep and two workers"
    assert sum(len(one) for one in measured.values()) == 2 * RUNS
    for one in measured.values():
        does_not_grow(one)


def test_runs_that_fail(place: Any, tmp_path: Path) -> None:
    """A sweep keeps their errors to its end, but not what they worked with."""
    [measured] = soaked(place, tmp_path / "measured", "loss=hard", FAIL, at="run.json").values()
    assert len(measured) == 2 * RUNS, "as they begin and as they fail"
    does_not_grow(measured[1::2], kept=512)  # with its error
