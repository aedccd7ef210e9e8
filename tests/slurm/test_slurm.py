"""A sweep through a real Slurm: preempted, failing, left to itself.

Needs a cluster that this machine can submit to; `tests/slurm/start.sh --sacct` starts one of one
node, as root, from Debian's packages. `BITSTILL_TEST_SLURM=1` says that there is one.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("BITSTILL_TEST_SLURM" not in os.environ, reason="no Slurm"),
]

FAILING = "[1e37,1e37,1e37]"
GRIDS = (
    'hydra.sweeper.grids=[{loss:"hard,soft",seed:"0,1,2"},{seed:"3"},'
    f'{{seed:"4",schedule.learning_rates:"{FAILING}"}}]'
)
SETTINGS = (
    "schedule.epochs=3",
    "schedule.batch_size=128",
    "evaluation.calibration_images=64",
    "trainer.threads=1",
)
SLURM = ("hydra/launcher=slurm", "hydra.launcher.array_parallelism=2")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bitstill", "train", "-m", GRIDS, *SETTINGS, *arguments]
    return subprocess.Popen(  # noqa: S603
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def running_jobs() -> list[str]:
    command = ["squeue", "--noheader", "--states=RUNNING", "--format=%A"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()  # noqa: S603


def states() -> dict[str, str]:
    """Return the state of every job, by array job and task."""
    command = ["sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID,State"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()  # noqa: S603
    return dict(line.split("|") for line in lines)


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in folder.glob("multirun/default/*/run.json")]


def curves(folder: Path) -> dict[str, bytes]:
    found = sorted((folder / "multirun/default").glob("*/metrics.csv"))
    return {path.parent.name: path.read_bytes() for path in found}


def wait_until(condition: object, *, seconds: float) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def preempt_one(folder: Path) -> None:
    """Tell a job whose run has finished an epoch what submitit takes as preemption."""

    def has_begun() -> bool:
        found = records(folder)
        return any(one["status"] == "running" and one["epoch"] in (1, 2) for one in found)

    def is_told() -> bool:  # a job that is ending cannot be told any more
        tell = ["scancel", "--signal=USR2"]
        return any(subprocess.run([*tell, job]).returncode == 0 for job in running_jobs())  # noqa: S603

    wait_until(has_begun, seconds=120)
    wait_until(is_told, seconds=60)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    start(folder, "hydra/launcher=parallel").communicate(timeout=500)
    return folder


def test_preempted_and_failing(tmp_path: Path, undisturbed: Path) -> None:
    before = set(states())
    sweep = start(tmp_path, *SLURM)
    preempt_one(tmp_path)
    _, errors = sweep.communicate(timeout=500)
    ours = {job: state for job, state in states().items() if job not in before}

    assert sweep.returncode == 1
    assert "1 of 8 runs are not done" in errors
    assert "hard T=15 seed 4: DivergedError: the training loss became" in errors
    assert sorted(str(one["status"]) for one in records(tmp_path)) == ["done"] * 7 + ["failed"]
    assert sorted(ours.values()) == ["COMPLETED"] * 7 + ["FAILED"]
    assert curves(tmp_path) == curves(undisturbed)
    restarted = list(tmp_path.glob("multirun/default/.submitit/*/*_log.*"))
    assert any("Requeued job" in path.read_text() for path in restarted)

    again = start(tmp_path, "sweep.rerun=none")
    _, errors = again.communicate(timeout=60)
    assert "8 runs: 8 skipped, 0 to do" in errors


def test_left_to_itself(tmp_path: Path) -> None:
    sweep = start(tmp_path, *SLURM, "sweep.detach=true", "schedule.epochs=1")
    _, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 0
    assert "submitted; bitstill status multirun/default --watch" in errors
    status = [sys.executable, "-m", "bitstill", "status", "multirun/default", "--json"]

    def settled() -> bool:
        shown = subprocess.run(status, cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S603
        found = [one["status"] for one in json.loads(shown.stdout)]
        return sorted(found) == ["done"] * 7 + ["failed"]

    wait_until(settled, seconds=300)
