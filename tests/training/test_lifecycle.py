"""A run's end that another process, or a disk, has a part in."""

import dataclasses
from pathlib import Path

import pytest
from tests.conftest import Configure

from bitstill.data import ImageData
from bitstill.runs import RunPaths, RunRecord
from bitstill.schema import TrainConfig
from bitstill.training.lifecycle import complete
from bitstill.training.provenance import new_record


def fail(config: TrainConfig, data: ImageData, paths: RunPaths, record: RunRecord) -> None:
    raise ValueError("trained")


def test_what_another_process_has_finished_meanwhile_is_not_trained_again(
    configure: Configure, tmp_path: Path
) -> None:
    config, paths = configure(tmp_path), RunPaths(tmp_path / "run")
    data = config.data.load()
    done = dataclasses.replace(new_record(config, data), status="done")
    paths.directory.mkdir()
    paths.lock.touch()
    done.write(paths)
    assert complete(config, data, paths, fail) == done
    again = configure(tmp_path, "sweep.rerun=all")
    with pytest.raises(ValueError, match="trained"):
        complete(again, data, paths, fail)


def test_a_record_that_cannot_be_written_does_not_hide_why_the_run_has_failed(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(record: RunRecord, paths: RunPaths) -> None:
        raise OSError("No space left on device")

    config, paths = configure(tmp_path), RunPaths(tmp_path / "run")
    monkeypatch.setattr(RunRecord, "write", full)
    with pytest.raises(ValueError, match="trained"):
        complete(config, config.data.load(), paths, fail)
    [said] = caplog.messages
    assert said == f"the record of {paths.directory} cannot be written: No space left on device"
