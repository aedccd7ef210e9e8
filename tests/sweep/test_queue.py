"""What a sweep has in Slurm's queue, by stand-ins for Slurm's commands."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import submitit

from bitstill.errors import UserError
from bitstill.sweep.queue import queued, remember
from hydra_plugins.bitstill_slurm import _results

# Each keeps what it was given, or says what it is told to.
COMMANDS = {
    "srun": "",
    "squeue": 'cat "$STAND_IN/queue"',
    "sacct": 'cat "$STAND_IN/accounts"',
    "sbatch": 'N=$(ls "$STAND_IN"/*.sh 2>/dev/null | wc -l)\n'
    'cp "$1" "$STAND_IN/$N.sh"\necho "Submitted batch job 10$N"',
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-ins before all other commands; return their folder."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    (folder / "queue").write_text("")
    monkeypatch.setenv("STAND_IN", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def submit(tmp_path: Path, few_images: tuple[str, ...]) -> Callable[..., str]:
    """Return a function that submits a sweep and returns what was said."""
    grids = "hydra.sweeper.grids=[{model:teacher,seed:'0,1'},{loss:'soft,hard',seed:'0,1'}]"
    arguments = ["-m", grids, *few_images, "hydra/launcher=slurm", "sweep.detach=true"]

    def again(*more: str) -> str:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "bitstill", "train", *arguments, *more],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stderr

    return again


@pytest.mark.slow
def test_what_is_in_the_queue_is_not_submitted_again(
    slurm: Path, submit: Callable[..., str]
) -> None:
    said = submit()
    for count, job in ((4, 100), (2, 101)):
        assert f"{count} runs submitted: squeue -j {job} shows, scancel {job} ends them" in said
    teachers, students = ((slurm / f"{number}.sh").read_text() for number in (0, 1))
    assert "--array=0-3%" in teachers  # and students that need none
    assert "dependency" not in teachers
    assert "#SBATCH --dependency=afterany:100_0:100_1\n" in students
    assert "#SBATCH --requeue\n" in students
    assert "#SBATCH --mem=4GB\n" in students

    (slurm / "queue").write_text("100_0\n100_1\n100_2\n100_3\n101_0\n101_1\n77\n")
    said = submit("trainer.threads=1", "hydra.launcher.timeout_min=60")  # the same runs
    assert "6 runs in the queue already" in said
    assert "submitted:" not in said

    (slurm / "queue").write_text("100_1\n100_2\n100_3\n101_0\n")
    said = submit()
    for job in (102, 103):
        assert f"1 run submitted: squeue -j {job} shows, scancel {job} ends them" in said
    assert "4 runs in the queue already" in said
    assert "#SBATCH --dependency=afterany:100_1:102\n" in (slurm / "3.sh").read_text()
    assert len(list(slurm.glob("*.sh"))) == 4


@pytest.mark.slow
def test_what_was_taken_of_a_sweep_is_noted(slurm: Path, submit: Callable[..., str]) -> None:
    """The second array is refused, say by MaxSubmitJobs; one is submitted at a time then."""
    refusing = COMMANDS["sbatch"].replace("cp ", '[ "$N" = 1 ] && exit 1\ncp ')
    (slurm / "sbatch").write_text(f"#!/bin/sh\n{refusing}\n")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        submit()
    assert "4 runs submitted: squeue -j 100" in refused.value.stderr
    (slurm / "sbatch").write_text(f"#!/bin/sh\n{COMMANDS['sbatch']}\n")
    (slurm / "queue").write_text("100_0\n100_1\n100_2\n100_3\n")
    said = submit("hydra.sweeper.max_batch_size=3")
    assert said.count("1 run submitted: squeue -j ") == 2
    for number in (1, 2):
        script = (slurm / f"{number}.sh").read_text()
        assert "#SBATCH --dependency=afterany:100_0:100_1\n" in script


def test_jobs_that_have_left_nothing_are_waited_for_together(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after ``scancel``: a disk may be late to show what they have left, and is so for all."""
    names = [f"100_{number}" for number in range(5)]
    lines = [f"{name}|CANCELLED by 0|node" for name in names]
    (slurm / "accounts").write_text("\n".join(["JobID|State|NodeList", *lines]) + "\n")
    for name in names:
        (tmp_path / name).mkdir()
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    found = _results([submitit.SlurmJob(tmp_path / "%j", name) for name in names])
    assert slept == [1] * 15
    assert [str(one._return_value).partition(";")[0] for one in found] == [
        f"Slurm job {name} has ended as CANCELLED by 0" for name in names
    ]


def test_of_the_noted_jobs_those_in_the_queue_are_found(slurm: Path, tmp_path: Path) -> None:
    remember(tmp_path / "new", {"a": "5_0", "b": "5_1"})
    assert queued(tmp_path / "new") == {}
    (slurm / "queue").write_text("5_1\n4_0\n")
    assert queued(tmp_path / "new") == {"b": "5_1"}


@pytest.mark.usefixtures("slurm")
def test_nothing_noted_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    assert queued(tmp_path) == {}


def test_a_queue_that_does_not_answer_stops_a_command(slurm: Path, tmp_path: Path) -> None:
    """Else all would be submitted again."""
    remember(tmp_path, {"a": "5"})
    (slurm / "squeue").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(UserError, match=r"^squeue does not say what of the sweep is in the queue"):
        queued(tmp_path)


@pytest.mark.parametrize(
    "content",
    ['{"a": [1], "b": {}, "c": 7, "d": "7"}', "[" * 10**5, '{"a": ' * 10**5, '["7"]', "\xff"],
)
def test_a_note_that_is_another_s_is_read_as_far_as_it_goes(slurm: Path, content: str) -> None:
    """``status`` reads the one of any folder."""
    (slurm / "queue").write_text("7\n")
    (slurm / "jobs.json").write_text(content, "latin-1")
    assert queued(slurm) == ({"d": "7"} if '"d"' in content else {})
