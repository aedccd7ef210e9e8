"""Runs sweeps on Slurm through submitit: submits runs that are not in the queue, and waits for all.

A failed run is a failed job, and a sweep can be left to run by itself.
"""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitstill.sweep.plan import PlannedRun

_LATE_SECONDS = 15

# Hydra imports every module of hydra_plugins; without the extra `slurm`, this one defines nothing.
if find_spec("hydra_plugins.hydra_submitit_launcher") is not None:
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobReturn, JobStatus
    from hydra_plugins.hydra_submitit_launcher import submitit_launcher
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
    from omegaconf import OmegaConf

    class SlurmLauncher(submitit_launcher.SlurmLauncher):  # type: ignore[misc]  # untyped there
        """Hydra's launcher, but a failed run is a failed job, and a sweep waits for all jobs.

        Attributes:
            planned: the runs of the sweep, by their overrides, if bitstill's sweeper planned them.
        """

        def __init__(self, **params: Any) -> None:
            super().__init__(**params)
            self.planned: Mapping[tuple[str, ...], PlannedRun] = {}

        def __getstate__(self) -> dict[str, Any]:
            """Leave the planned runs out of what each job receives."""
            return self.__dict__ | {"planned": {}}

        def __call__(self, *args: Any, **kwargs: Any) -> JobReturn:
            """Do one job on a node; an error ends the process, so that Slurm sees it."""
            # Not all nodes confine a job to its cores, and torch would use all that it sees.
            os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
            job: JobReturn = super().__call__(*args, **kwargs)
            _ = job.return_value  # raises the job's error, if any
            return job

        def launch(
            self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
        ) -> Sequence[JobReturn]:
            """Submit runs that are not in the queue; wait for all, or none with ``sweep.detach``.

            Students that read a teacher begin when the teachers' jobs have ended, since a student
            that waited in its own job would occupy its cores.
            """
            import submitit

            from bitstill.errors import counted
            from bitstill.explanations import say
            from bitstill.sweep.queue import queued, remember

            pattern = str(self.params["submitit_folder"])
            folder = Path(pattern.partition("%j")[0])
            runs = self.planned.values()
            teachers = {run.expected.identity for run in runs if run.config.is_teacher}
            rows = [
                self._row(overrides, index, waits_for=teachers)
                for index, overrides in enumerate(job_overrides, start=initial_job_idx)
            ]
            noted = queued(folder)
            jobs: dict[str, Any] = {
                row.name: submitit.SlurmJob(pattern, noted[row.name])
                for row in rows
                if row.name in noted
            }
            there = len(jobs)
            for waits in (False, True):
                new = [row for row in rows if row.name not in jobs and row.waits == waits]
                after = [noted[name] for name in teachers if waits and name in noted]
                submitted = self._submit(new, after=sorted(after))
                jobs |= {row.name: job for row, job in zip(new, submitted, strict=True)}
                noted |= {name: job.job_id for name, job in jobs.items()}
                remember(folder, noted)  # now, since the next submission may be refused
                if submitted:
                    array = submitted[0].job_id.partition("_")[0]
                    said = f"squeue -j {array} shows, scancel {array} ends them"
                    say(f"{counted(len(submitted), 'run')} submitted: {said}")
            if there:
                say(f"{counted(there, 'run')} in the queue already")
            if OmegaConf.select(self.config, "sweep.detach", default=False):
                return []
            return _results([jobs[row.name] for row in rows])

        def _row(
            self, overrides: Sequence[str], index: int, *, waits_for: Collection[str]
        ) -> "_Row":
            run = self.planned.get(tuple(overrides))
            if run is None:
                return _Row(" ".join(overrides), overrides, index)
            waits = bool(waits_for) and run.config.needs_teacher
            return _Row(run.expected.identity, overrides, index, waits)

        def _submit(self, rows: Sequence["_Row"], *, after: Sequence[str]) -> Sequence[Any]:
            """Submit jobs as an array that starts when the jobs in ``after`` have ended."""
            if not rows:
                return []
            arguments = [
                (
                    list(row.overrides),
                    "hydra.sweep.dir",
                    row.index,
                    f"job_id_for_{row.index}",
                    Singleton.get_state(),
                )
                for row in rows
            ]
            executor = self._executor()
            if after:
                executor.update_parameters(slurm_dependency=":".join(["afterany", *after]))
            submitted: Sequence[Any] = executor.map_array(self, *zip(*arguments, strict=True))
            return submitted

        def _executor(self) -> Any:
            import submitit

            params = dict(self.params)
            if params.get("mem_per_cpu") or params.get("mem_per_gpu"):
                params["mem_gb"] = None  # sbatch allows only one of them
            executor = submitit.AutoExecutor(
                folder=params.pop("submitit_folder"),
                cluster="slurm",
                slurm_max_num_timeout=params.pop("max_num_timeout"),
            )
            common = set(OmegaConf.structured(BaseQueueConf).keys())
            executor.update_parameters(
                **{key if key in common else f"slurm_{key}": params[key] for key in params}
            )
            return executor

    @dataclass(frozen=True)
    class _Row:
        """A run to launch, with its key, and whether it waits for teachers of the sweep."""

        name: str
        overrides: Sequence[str]
        index: int
        waits: bool = False

    class JobEndedError(Exception):
        """A job has ended without any result."""

    def _results(jobs: Sequence[Any]) -> list[JobReturn]:
        """Wait for submitit jobs, and once for results that a network file system shows late.

        Submitit would wait as long for each job without results, one after another.
        """
        for job in jobs:
            job.wait()
        for _ in range(_LATE_SECONDS):
            if all(job.paths.result_pickle.exists() for job in jobs):
                break
            time.sleep(1)
        for job in jobs:
            job._results_timeout_s = 0
        return [_result(job) for job in jobs]

    def _result(job: Any) -> JobReturn:
        """Return a job's result; an error is in the run's record, or is the result's value."""
        import submitit

        try:
            returned: JobReturn = job.results()[0]
        except Exception as error:  # noqa: BLE001  # the other jobs' results are still wanted
            returned = JobReturn()
            returned.status = JobStatus.FAILED
            returned.return_value = error
            if isinstance(error, submitit.core.utils.UncompletedJobError):
                returned.return_value = JobEndedError(
                    f"Slurm job {job.job_id} has {_end(job, error)}; see {job.paths.stderr}"
                )
        return returned

    def _end(job: Any, error: Exception) -> str:
        """Return how a job has ended; ask Slurm again, as its last answer may be out of date."""
        import submitit

        if isinstance(error, submitit.core.utils.FailedJobError):
            return "failed"
        state = job.watcher.get_state(job.job_id, mode="force")
        return "ended" if state in ("UNKNOWN", "RUNNING") else f"ended as {state}"
