"""What ``bitstill train`` says of where a run is done, and ``compose`` beside others."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bitstill.application import FolderCheck, _log_slurm_job, compose, register_resolvers
from bitstill.errors import UserError
from bitstill.runs import RunPaths

JOB, ARRAY = {"SLURM_JOB_ID": "9"}, {"SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "1"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [({}, []), (JOB, ["Slurm job 9 on node-3"]), (JOB | ARRAY, ["Slurm job 8_1 on node-3"])],
)
def test_a_run_s_log_names_its_job_as_scancel_takes_it(
    environment: dict[str, str],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in (*JOB, *ARRAY):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("platform.node", lambda: "node-3")
    with caplog.at_level(logging.INFO, logger="bitstill"):
        _log_slurm_job()
    assert caplog.messages == said


def test_threads_compose_side_by_side() -> None:
    with ThreadPoolExecutor(4) as threads:
        composed = list(threads.map(lambda seed: compose(f"seed={seed}"), range(8)))
    assert [config.seed for config in composed] == list(range(8))


def test_a_run_is_composed_after_others_have_cleared_all_resolvers() -> None:
    try:
        OmegaConf.clear_resolvers()
        assert compose("loss=soft_hard", "temperature=T10").seed == 0
    finally:
        register_resolvers()


def test_a_folder_with_a_damaged_record_is_trained_into(tmp_path: Path) -> None:
    """By the run, which moves it aside; a folder of others' files is refused."""
    config = OmegaConf.create({"hydra": {"run": {"dir": str(tmp_path)}}})
    record = RunPaths(tmp_path).record
    record.write_text("cut sho")
    FolderCheck().on_run_start(config)
    record.unlink()
    RunPaths(tmp_path).metrics.touch()
    with pytest.raises(SystemExit) as stopped:
        FolderCheck().on_run_start(config)
    assert isinstance(stopped.value.__cause__, UserError)
