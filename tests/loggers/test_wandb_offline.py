"""What a real offline multirun has told wandb, read back by wandb's own reader."""

import json
from pathlib import Path

import pytest
from tests.conftest import Logged
from tests.wandb_files import files, history, overview, records

from bitstill.loggers.names import wandb_id
from bitstill.loggers.summary import summary_id
from bitstill.runs import load_sweep, read_record
from bitstill.runs.curves import read_curves

pytestmark = pytest.mark.slow


def test_each_run_is_one_run_of_wandb(logged: Logged) -> None:
    found = files(logged.folder)
    ids = {wandb_id(record, "mine") for record in load_sweep(logged.folder)}
    stored = {wandb_id(record, "mine") for record in load_sweep(logged.folder.parent / "teachers")}
    assert set(found) == ids | stored | {summary_id("mine")}
    for sittings in found.values():
        [file] = sittings
        assert overview(file)["state"] == "finished"
        assert overview(file)["exit_code"] == 0


def test_what_a_run_is_called(logged: Logged) -> None:
    paths = logged.paths("soft-T10")
    record = read_record(paths)
    assert record is not None
    [file] = files(logged.folder)[wandb_id(record, "mine")]
    [run] = [one["run"] for one in records(file) if one["type"] == "run"]
    assert run["run_group"] == "mine"
    assert run["job_type"] == "soft"
    assert run["display_name"] == paths.directory.name
    assert run["project"] == "bitstill"
    assert run["tags"] == ["tagged"]
    assert "host" not in run


def test_the_configuration_is_flat_and_nested(logged: Logged) -> None:
    record = read_record(logged.paths("soft-T10"))
    assert record is not None
    config = overview(files(logged.folder)[wandb_id(record, "mine")][0])["config"]
    flat = ("model", "loss_name", "temperature", "seed", "cell", "weight_bits", "activation_bits")
    assert [config[key] for key in flat] == ["student", "soft", 10, 0, "soft T=10", 2, 1]
    others = ("soft_weight", "teacher_seed", "activation_scale", "data", "val_fraction")
    assert [config[key] for key in others] == [None, 0, 0.1, "digits", 0.1]
    assert config["learning_rate"] == record.config["schedule"]["learning_rates"][0]
    assert config["device"] == record.device
    assert config["config"] == json.loads(json.dumps(record.config))
    for key in ("identity", "data_identity", "teacher_identity", "git_commit", "versions"):
        assert config[key] == getattr(record, key)


def test_the_curves_are_metrics_csv_against_the_epoch(logged: Logged) -> None:
    paths = logged.paths("soft-T10")
    record = read_record(paths)
    assert record is not None
    [file] = files(logged.folder)[wandb_id(record, "mine")]
    rows = [row for row in history(file) if "train/loss" in row]
    assert [row["_step"] for row in rows] == [row["epoch"] for row in rows] == [1, 2]
    for row, curve in zip(rows, read_curves(paths), strict=True):
        assert {key: row[key] for key in curve} == pytest.approx(curve)
    metrics = [one["metric"] for one in records(file) if one["type"] == "metric"]
    assert {one["step_metric"] for one in metrics if "step_metric" in one} == {"epoch"}
    defined = {one["name"]: one["summary"] for one in metrics if "summary" in one}
    assert defined["test/accuracy_precise"] == {"max": True, "last": True}
    assert defined["train/loss"] == {"min": True, "last": True}
    assert defined.keys() <= read_curves(paths)[0].keys(), "of nothing that is never logged"


def test_the_summary_is_the_record(logged: Logged) -> None:
    paths = logged.paths("soft-T15")
    record = read_record(paths)
    assert record is not None
    summary = overview(files(logged.folder)[wandb_id(record, "mine")][0])["summary"]
    for kind, suffix in (("running", ""), ("precise", "_precise")):
        for selection in ("last", "best_val", "best_test"):
            row = record.selections[kind][selection]
            assert row is not None
            assert summary[f"{selection}/test_accuracy{suffix}"] == row["test/accuracy"]
            assert summary[f"{selection}/epoch{suffix}"] == row["epoch"]
    accuracies = [row["test/accuracy"] for row in read_curves(paths)]
    assert summary["test/accuracy"] == {"max": max(accuracies), "last": accuracies[-1]}
    assert summary["time/total_seconds"] == record.seconds
    assert summary["size/checkpoint_bytes"] == record.sizes["checkpoint"]
    assert 70_000 < summary["size/deployed_bytes"] < 90_000


def test_pictures_and_artifacts(logged: Logged) -> None:
    paths = logged.paths("soft-T15")
    record = read_record(paths)
    assert record is not None
    [file] = files(logged.folder)[wandb_id(record, "mine")]
    summary = overview(file)["summary"]
    for name in ("confusion", "weight-levels", "weight-steps"):
        picture = file.parent / "files" / summary[f"pictures/{name}"]["path"]
        assert picture.read_bytes().startswith(b"\x89PNG")
    artifacts = [one["artifact"] for one in records(file) if one["type"] == "artifact"]
    kept = {one["type"]: one["manifest"]["contents"][0] for one in artifacts}
    assert kept["model"]["path"] == "student.bitstill"
    assert kept["model"]["size"] == str((paths.directory / "student.bitstill").stat().st_size)
    assert kept["run-record"]["path"] == "run.json"
    assert kept["run-record"]["size"] == str(paths.record.stat().st_size)


def test_the_sweep_is_one_run_too(logged: Logged) -> None:
    [file] = files(logged.folder)[summary_id("mine")]
    found = overview(file)
    record = read_record(logged.paths("soft-T15"))
    assert record is not None
    row = record.selections["running"]["best_val"]
    assert row is not None
    # The teacher of two epochs is none that these students have read: it is a set of its own.
    assert "set2/mean/teacher" in found["summary"]
    assert found["summary"]["set1/mean/soft T=15"] == pytest.approx(row["test/accuracy"])
    table = (file.parent / "files" / found["summary"]["set1/temperatures"]["path"]).read_text()
    for text in ('<th scope="col">T</th><th scope="col">soft</th>', '<th scope="row">10</th>'):
        assert text in table
    [run] = [one["run"] for one in records(file) if one["type"] == "run"]
    assert (run["job_type"], run["run_group"]) == ("summary", "mine")


def test_what_is_installed_is_not_said(logged: Logged) -> None:
    """Names of private packages would be among it."""
    assert not list(logged.folder.glob("wandb/**/requirements.txt"))


def _written(home: Path) -> list[Path]:
    """Return all files but Hydra's copies of what was given to it, which are local."""
    own = {"hydra.yaml", "multirun.yaml", "overrides.yaml"}
    return [path for path in home.rglob("*") if path.is_file() and path.name not in own]


def test_no_key_user_or_folder_is_written(logged: Logged) -> None:
    written = _written(logged.home)
    endings = {path.suffix for path in written}
    assert {".wandb", ".json", ".csv", ".log", ".ckpt", ".safetensors", ".html"} <= endings
    assert any("tfevents" in path.name for path in written)
    for path in written:
        content = path.read_bytes()
        for secret in logged.secrets:
            assert secret.encode() not in content, f"{secret} in {path}"
