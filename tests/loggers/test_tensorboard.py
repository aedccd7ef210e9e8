"""TensorBoard's event files, read back by TensorBoard, and its page in a browser."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped]
from tensorboard.plugins.hparams import plugin_data_pb2  # type: ignore[import-untyped]
from tests.conftest import Logged

from bitstill.loggers.names import results
from bitstill.runs import RunPaths, read_record
from bitstill.runs.curves import read_curves

pytestmark = pytest.mark.slow

FOLDERS = ("soft-T10", "soft-T15", "teacher")


def events(folder: Path) -> Any:
    found = event_accumulator.EventAccumulator(
        str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0}
    )
    return found.Reload()


@pytest.mark.parametrize("label", FOLDERS)
def test_the_curves_are_metrics_csv(logged: Logged, label: str) -> None:
    paths = logged.paths(label)
    found, rows = events(paths.directory), read_curves(paths)
    for name in set(rows[0]) - {"epoch"}:
        logged_values = [(event.step, event.value) for event in found.Scalars(name)]
        assert [step for step, _ in logged_values] == [1, 2]
        values = [value for _, value in logged_values]
        assert values == pytest.approx([row[name] for row in rows], rel=1e-6), name


def test_hyperparameters_with_what_they_came_to(logged: Logged) -> None:
    paths = logged.paths("soft-T10")
    record = read_record(paths)
    assert record is not None
    found = events(paths.directory)
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    started = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert started["loss_name"].string_value == "soft"
    assert started["temperature"].number_value == 10
    for name, value in results(record).items():
        assert found.Scalars(name)[-1].value == pytest.approx(value, rel=1e-6), name
    assert {f"pictures/{one}" for one in ("confusion", "weight-levels", "weight-steps")} == set(
        found.Tags()["images"]
    )


def test_a_resumed_run_has_each_epoch_once(
    run_here: Callable[..., RunPaths], restored: None
) -> None:
    paths = run_here("logger=tensorboard", "schedule.epochs=2")
    paths.record.unlink()  # it goes on, from a checkpoint that has all
    run_here("logger=tensorboard", "schedule.epochs=2")
    assert [event.step for event in events(paths.directory).Scalars("train/loss")] == [1, 2]
    assert len(list((paths.directory / "tensorboard").iterdir())) == 1
    assert [row["epoch"] for row in read_curves(paths)] == [1, 2]


@pytest.fixture
def page(logged: Logged) -> Iterator[str]:
    """TensorBoard, of the sweep, on a free port."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logged.folder)]
    process = subprocess.Popen(  # noqa: S603
        [*command, "--port", "0", "--load_fast=false"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    address = next(line for line in process.stderr if "http://" in line).split("http://")[1]
    url = f"http://{address.split('/')[0]}"
    until = time.monotonic() + 60
    while time.monotonic() < until:
        runs = urllib.request.urlopen(f"{url}/data/runs", timeout=10).read().decode()  # noqa: S310
        if runs.count("tensorboard") == len(FOLDERS):
            break
        time.sleep(0.5)
    yield url
    process.terminate()
    process.communicate()


def test_its_page_shows_all_runs(browser: Any, page: str) -> None:
    tab = browser.new_page(viewport={"width": 1500, "height": 1000})
    tab.goto(f"{page}/#timeseries")
    for text in (*FOLDERS, "best_val", "pictures"):
        tab.get_by_text(text).first.wait_for(timeout=60_000)
    tab.goto(f"{page}/#hparams")
    table = tab.locator("tf-hparams-main")
    table.get_by_text("loss_name").first.wait_for(timeout=60_000)
    for label in FOLDERS:
        table.get_by_text(label).first.wait_for(timeout=60_000)
