"""A sweep through a real Slurm: preempted, failing, left to itself.

Needs a cluster that this machine can submit to; `tests/slurm/start.sh --sacct` starts one of one
node, as root, from Debian's packages. `BITSTILL_TEST_SLURM=1` says that there is one.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from bitstill.runs import RunPaths, read_record
from bitstill.runs.locks import is_worked_on

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("BITSTILL_TEST_SLURM" not in os.environ, reason="no Slurm"),
]

CONTROLLER = Path(os.environ.get("SLURM_STATE", "/var/lib/slurm-test"), "slurmctld.pid")

FAILING = "[1e37,1e37,1e37]"
# The first is the first task of the job array. Its epochs are many, so that it is at work still
# when it has been seen at work and is told to stop.
PREEMPTED, EPOCHS = "hard-T15-seed3-*", 20
GRIDS = (
    f'hydra.sweeper.grids=[{{seed:"3",schedule.epochs:"{EPOCHS}"}},'
    '{loss:"hard,soft",seed:"0,1",schedule.epochs:"2"},'
    f'{{seed:"4",schedule.learning_rates:"{FAILING}"}}]'
)
SETTINGS = ("evaluation.calibration_images=64", "trainer.threads=1")
SLURM = ("hydra/launcher=slurm", "hydra.launcher.array_parallelism=2")


@dataclass(frozen=True)
class Place:
    """A folder, and ``bitstill`` in processes that work there."""

    folder: Path
    images: tuple[str, ...]

    @property
    def sweep(self) -> Path:
        return self.folder / "multirun/default"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bitstill", "train", "-m", GRIDS]
        return subprocess.Popen(  # noqa: S603
            [*command, *self.images, *SETTINGS, *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def statuses(self) -> list[str]:
        """Ask ``bitstill status``."""
        command = [sys.executable, "-m", "bitstill", "status", "multirun/default", "--json"]
        shown = subprocess.run(  # noqa: S603
            command, cwd=self.folder, capture_output=True, text=True, check=True
        )
        return sorted(one["status"] for one in json.loads(shown.stdout))

    def curves(self) -> dict[str, bytes]:
        return {path.parent.name: path.read_bytes() for path in self.sweep.glob("*/metrics.csv")}

    def logs(self, task: int) -> str:
        """Read what submitit has said of a task of the job array."""
        found = sorted(self.sweep.glob(f".submitit/*_{task}/*_log.out"))
        return "".join(path.read_text() for path in found)

    def tell_jobs(self, number: signal.Signals) -> None:
        """Send a signal to the Python processes of jobs that are running."""
        job = ["-u", "-m", "submitit.core._submit", f"{self.sweep}/.submitit/%j", ""]
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                if (process / "cmdline").read_text(errors="replace").split("\0")[1:] == job:
                    os.kill(int(process.name), number)

    def preempt(self, pattern: str, *, task: int) -> None:
        """Tell a run at work, after its first epoch, what submitit takes as preemption."""

        def finished() -> int:
            found = [RunPaths(path) for path in self.sweep.glob(pattern)]
            known = [read_record(paths) for paths in found if is_worked_on(paths)]
            return max((record.epoch for record in known if record is not None), default=0)

        wait_until(finished, "an epoch of the run that is to be preempted")
        assert finished() < EPOCHS, "too few epochs to be preempted between"
        [submitted] = self.sweep.glob(f".submitit/*_{task}")
        # While other tasks of the array are pending, Slurm delivers the signal and says that it
        # could not, and scancel delivers it again after five seconds: it is ended before that.
        with subprocess.Popen(["scancel", "--signal=USR2", submitted.name]) as told:  # noqa: S603, S607
            try:
                wait_until(lambda: "Caught signal" in self.logs(task), "a signal that arrives")
            finally:
                told.kill()
        wait_until(lambda: "Requeued job" in self.logs(task), "the requeue of a preempted job")


@pytest.fixture
def place(tmp_path: Path, few_images: tuple[str, ...]) -> Place:
    return Place(tmp_path, few_images)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, few_images: tuple[str, ...]
) -> dict[str, bytes]:
    place = Place(tmp_path_factory.mktemp("undisturbed"), few_images)
    place.start("hydra/launcher=parallel").communicate(timeout=500)
    return place.curves()


def states() -> dict[str, str]:
    """Return the state of every job, by array job and task."""
    command = ["sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID,State"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return dict(line.split("|") for line in lines.splitlines())


def wait_until(
    condition: Callable[[], object], what: str, *, seconds: float = 120, every: float = 0.1
) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(every)


def test_preempted_and_failing(place: Place, undisturbed: dict[str, bytes]) -> None:
    before = set(states())
    sweep = place.start(*SLURM)
    place.preempt(PREEMPTED, task=0)
    _, errors = sweep.communicate(timeout=500)

    def ended() -> list[str]:  # a result is there a moment before Slurm knows of the job's end
        return sorted(state for job, state in states().items() if job not in before)

    assert sweep.returncode == 1
    assert "1 of 6 runs are not done" in errors
    assert "hard T=15 seed 4: DivergedError: the training loss became" in errors
    assert place.statuses() == ["done"] * 5 + ["failed"]
    wait_until(lambda: set(ended()) <= {"COMPLETED", "FAILED"}, "the end of all jobs", seconds=60)
    assert ended() == ["COMPLETED"] * 5 + ["FAILED"]
    assert place.curves() == undisturbed
    [preempted] = place.sweep.glob(PREEMPTED)
    epochs = re.findall(r": epoch (\d+) of ", (preempted / "train.log").read_text())
    assert epochs == [str(epoch + 1) for epoch in range(EPOCHS)], "each is trained once"

    again = place.start("sweep.rerun=none")
    _, errors = again.communicate(timeout=120)
    assert "6 runs: 6 skipped, 0 to do" in errors


def is_changed_to(state: str) -> bool:
    """Set the state of the partition, if the controller answers."""
    command = ["scontrol", "update", "PartitionName=main", f"State={state}"]
    return not subprocess.run(command, capture_output=True, check=False).returncode  # noqa: S603


def knows_all_jobs() -> bool:
    """Whether the next controller would, too: it starts once more what this one has not saved."""
    command = ["squeue", "--noheader", "--states=running", "--format=%S"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    begun = [datetime.fromisoformat(one).timestamp() + 1 for one in said.split()]  # whole seconds
    return bool(begun) and max(begun) < (CONTROLLER.parent / "ctld/job_state").stat().st_mtime


@pytest.mark.skipif(not CONTROLLER.exists(), reason="not a Slurm of tests/slurm/start.sh")
def test_a_controller_that_is_killed(place: Place, undisturbed: dict[str, bytes]) -> None:
    """A run comes to its end meanwhile; with the next controller the sweep goes on."""
    sweep = place.start(*SLURM)

    def statuses(pattern: str = "*-T15-*") -> list[str]:
        found = (read_record(RunPaths(path)) for path in place.sweep.glob(pattern))
        return [record.status for record in found if record is not None]

    wait_until(lambda: "running" in statuses(PREEMPTED), "a run of many epochs at work")
    place.tell_jobs(signal.SIGSTOP)  # or it may have ended before the controller has saved it
    assert is_changed_to("DOWN"), "from now on no job begins"
    wait_until(knows_all_jobs, "a controller that has saved what is at work")
    os.kill(int(CONTROLLER.read_text()), signal.SIGKILL)
    before = statuses().count("done")
    place.tell_jobs(signal.SIGCONT)
    wait_until(lambda: statuses().count("done") > before, "the end of a run")
    subprocess.run(["slurmctld"], check=True)  # noqa: S607
    wait_until(lambda: is_changed_to("UP"), "the next controller")
    _, errors = sweep.communicate(timeout=500)
    assert sweep.returncode == 1
    assert "1 of 6 runs are not done" in errors
    assert "hard T=15 seed 4: DivergedError: the training loss became" in errors
    assert place.curves() == undisturbed
    logs = "".join(path.read_text() for path in place.sweep.glob("*/train.log"))
    assert logs.count(": epoch 1 of ") == 7, "five runs and two teachers, each trained once"


def test_left_to_itself(place: Place) -> None:
    """The same command, given again, waits for the jobs that are in the queue."""
    sweep = place.start(*SLURM, "sweep.detach=true", "schedule.epochs=1")
    _, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 0
    assert "6 runs submitted: squeue -j " in errors
    assert "submitted; bitstill status multirun/default --watch" in errors
    again = place.start(*SLURM, "schedule.epochs=1")
    _, errors = again.communicate(timeout=500)
    assert re.search(r"^bitstill: [1-6] runs? in the queue already$", errors, re.MULTILINE)
    assert again.returncode == 1
    assert "1 of 6 runs are not done" in errors
    assert place.statuses() == ["done"] * 5 + ["failed"]
    logs = [path.read_text() for path in place.sweep.glob("*/train.log")]
    assert all(re.search(r"Slurm job \d+_\d on \w", one) for one in logs)
