"""Sweeps in processes of their own, and what they leave."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import once_for_all_workers
from tests.faults.forked import Forked

from bitstill.runs import RunPaths, known_runs, read_record

# A teacher and two students of six epochs on few images: some seconds.
OVERRIDES = (
    "name=mine",
    "seed=0",
    "schedule.epochs=6",
    "evaluation.calibration_images=64",
    "trainer.threads=1",
)
SWEPT = ("-m", "loss=hard,soft_hard")
PARALLEL = ("hydra/launcher=parallel", "hydra.launcher.n_jobs=2")

Process = Forked | subprocess.Popen[str]


@dataclass(frozen=True)
class Results:
    """What the runs of a sweep and their teachers came to, by folder."""

    metrics: dict[str, bytes]
    weights: dict[str, bytes]
    selections: dict[str, Any]


@dataclass
class Place:
    """An output folder, and ``bitstill train`` in processes that write there."""

    folder: Path
    images: tuple[str, ...]
    tables: str = ""
    processes: list[Process] = field(default_factory=list)

    def start(
        self, *arguments: str, anew: bool = False, first: str = "", **options: Any
    ) -> Process:
        """Start ``bitstill train`` as the leader of a group of processes.

        It is a fork of a process that has torch, but for a new interpreter where one is wanted, has
        options, or has workers: those end before a fork of multiprocessing does.

        Args:
            *arguments: of the command.
            anew: whether it is to be a new interpreter.
            first: code that a fork begins with.
            **options: of ``subprocess.Popen``.
        """
        given = [one for one in arguments if not one.startswith("-")]
        flags = [one for one in arguments if one.startswith("-")]
        line = [
            *("train", *flags, *OVERRIDES, *self.images),
            *(f"paths.output={self.folder}", *given),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process: Process
        if anew or options or PARALLEL[0] in given:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "bitstill", *line],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                **{"env": environment} | options,
            )
        else:
            outputs = self.folder.with_name(f"outputs{len(self.processes)}")
            outputs.mkdir()
            process = Forked(line, environment, outputs, first)
        self.processes.append(process)
        return process

    def run(self, *arguments: str, seconds: float = 300, **options: Any) -> tuple[int, str, str]:
        """Run ``bitstill train`` to its end: exit code, stdout, stderr."""
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=seconds)
        assert process.returncode is not None
        return process.returncode, out, err

    def hooked(self, code: str, **variables: str) -> dict[str, str]:
        """Return an environment in which every Python process, a worker too, begins with code."""
        site = self.folder.with_name("site")
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(code)
        path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
        return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **variables}

    def kill(self, process: Process) -> None:
        """Kill a process and all that it has started."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def directories(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob("*/*/run.json"))

    def directory(self, label: str) -> Path:
        """The folder of the one run whose name begins with a label."""
        [found] = self.folder.glob(f"mine/{label}*")
        return found

    def results(self) -> Results:
        """Read what is there; every run must be done."""
        metrics, weights, selections = {}, {}, {}
        for directory in self.directories():
            name, paths = str(directory.relative_to(self.folder)), RunPaths(directory)
            record = read_record(paths)
            assert record is not None
            assert record.status == "done", name
            metrics[name] = paths.metrics.read_bytes()
            weights[name] = paths.weights.read_bytes()
            selections[name] = (record.selections, record.checksums, record.epoch)
        return Results(metrics, weights, selections)

    def states(self) -> dict[str, str]:
        """The status of each run, by loss."""
        return {record.loss: record.status for _, record in known_runs(self.folder / "mine")}


@pytest.fixture
def place(tmp_path: Path, few_images: tuple[str, ...]) -> Iterator[Place]:
    found = Place(tmp_path / "output", few_images)
    yield found
    for process in found.processes:
        if process.poll() is None:
            found.kill(process)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, few_images: tuple[str, ...]) -> Place:
    """Where a sweep has run that nothing happens to."""

    def sweep(folder: Path) -> None:
        code, out, err = Place(folder / "output", few_images).run(*SWEPT)
        assert code == 0, err
        (folder / "tables").write_text(out)

    folder = once_for_all_workers(tmp_path_factory, "undisturbed", sweep)
    return Place(folder / "output", few_images, (folder / "tables").read_text())


@pytest.fixture(scope="session")
def undisturbed(finished: Place) -> Results:
    """What it comes to."""
    results = finished.results()
    assert len(results.metrics) == 3, "two students and their teacher"
    return results


@pytest.fixture
def done(finished: Place, undisturbed: Results, place: Place) -> Place:
    """A finished sweep, to be damaged."""
    shutil.copytree(finished.folder, place.folder)
    return place
