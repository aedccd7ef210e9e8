"""Slurm, through submitit: a failed run is a failed job, and a sweep can be left to itself."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

# Hydra imports every module of hydra_plugins; without the extra `slurm` this one is empty.
if find_spec("hydra_plugins.hydra_submitit_launcher") is not None:
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobReturn, JobStatus
    from hydra_plugins.hydra_submitit_launcher import submitit_launcher
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
    from omegaconf import OmegaConf

    class SlurmLauncher(submitit_launcher.SlurmLauncher):  # type: ignore[misc]  # untyped there
        """Hydra's launcher, which lets a job end well that has failed, and waits in any case."""

        def __call__(self, *args: Any, **kwargs: Any) -> JobReturn:
            """Do one job, on a node; its failure leaves the process, so that Slurm sees it."""
            job: JobReturn = super().__call__(*args, **kwargs)
            _ = job.return_value  # raises what the job has raised
            return job

        def launch(
            self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
        ) -> Sequence[JobReturn]:
            """Submit jobs as an array and wait for all, or for none with ``sweep.detach``."""
            assert self.config is not None  # noqa: S101  # Hydra has called setup
            rows = [
                (
                    list(overrides),
                    "hydra.sweep.dir",
                    initial_job_idx + index,
                    f"job_id_for_{initial_job_idx + index}",
                    Singleton.get_state(),
                )
                for index, overrides in enumerate(job_overrides)
            ]
            jobs = self._executor().map_array(self, *zip(*rows, strict=True))
            if OmegaConf.select(self.config, "sweep.detach", default=False):
                return []
            return [_result(job) for job in jobs]

        def _executor(self) -> Any:
            import submitit

            params = dict(self.params)
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

    def _result(job: Any) -> JobReturn:
        """Wait for a submitit job; what went wrong is in the run's record, or in the exception."""
        try:
            returned: JobReturn = job.results()[0]
        except Exception as error:  # noqa: BLE001  # one job's end must not hide the others'
            returned = JobReturn()
            returned.status = JobStatus.FAILED
            returned.return_value = error
        return returned
