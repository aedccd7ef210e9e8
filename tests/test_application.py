"""What ``bitstill train`` says of where a run is done."""

import logging

import pytest

from bitstill.application import _log_slurm_job

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
