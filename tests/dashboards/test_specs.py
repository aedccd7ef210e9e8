"""Dashboards as code: what their specifications name is what runs have logged."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from tests.conftest import Logged
from tests.wandb_files import files, overview
from tests.wandb_server import ENTITY, WandbServer

from bitstill.dashboards.command import make_dashboard
from bitstill.dashboards.source import find_source
from bitstill.dashboards.specs import plain, report, workspace
from bitstill.errors import UserError

Json = dict[str, Any]


def nodes(spec: object) -> Iterator[Json]:
    """Return every mapping in a specification."""
    if isinstance(spec, dict):
        yield spec
        for value in spec.values():
            yield from nodes(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from nodes(value)


def named(spec: Json) -> set[str]:
    """Return the keys of runs that a specification names: metrics, summary:x, config:x."""
    found: set[str] = set()
    for node in nodes(spec):
        config = node.get("config", {}) if "viewType" in node else {}
        found |= {str(name) for name in config.get("metrics", [])}
        found |= {config[key] for key in ("xAxis", "yAxis") if key in config}
        found |= {f"config:{config[key]}" for key in ("groupBy",) if key in config}
        found |= {f"media:{name}" for name in config.get("mediaKeys", [])}
        found |= {column["accessor"] for column in config.get("columns", [])}
        key = node.get("key", {})
        if isinstance(key, dict) and key.get("section") in ("config", "summary"):
            found.add(f"{key['section']}:{key['name']}")
    return found


@pytest.mark.slow
def test_every_key_is_logged(logged: Logged) -> None:
    source = find_source(str(logged.folder))
    summary: set[str] = set()
    config: set[str] = set()
    for [file] in files(logged.folder).values():
        run = overview(file)
        summary |= run["summary"].keys()
        config |= run["config"].keys()
    keys = named(plain(report(source))) | named(plain(workspace(source)))
    assert {"epoch", "test/accuracy", "train/loss", "media:pictures/confusion"} <= keys
    assert {"config:temperature.value", "config:model", "config:cell.value"} <= keys
    for key in keys:
        kind, _, name = key.replace("summary_metrics.", "summary:").rpartition(":")
        name = name.removesuffix(".value")
        assert name in (config if kind == "config" else summary), key


@pytest.mark.slow
def test_a_report_is_the_local_one_and_charts(logged: Logged) -> None:
    spec = plain(report(find_source(str(logged.folder))))["spec"]
    texts = [node["content"] for node in spec["blocks"] if node["type"] == "markdown-block"]
    assert any(": Published claims**" in text for text in texts), (
        "its teachers are a set of their own"
    )
    assert any("Table 2: soft targets only (soft)**" in text for text in texts)
    titles = [
        node["children"][0]["text"]
        for node in spec["blocks"]
        if node["type"] == "heading" and node["level"] == 2
    ]
    assert titles == [
        "Table 2: soft targets only (soft)",
        "Teacher",
        "T x loss",
        "Curves by temperature",
        "Runs",
    ]
    grids = [node for node in spec["blocks"] if node["type"] == "panel-grid"]
    [runs] = grids[0]["metadata"]["runSets"]
    filters = {one["key"]["name"]: one["value"] for one in runs["filters"]["filters"]}
    assert filters == {"group": "mine", "loss_name": "soft", "model": "student"}
    curves = next(
        node for node in nodes(grids[0]) if node.get("viewType", "").endswith("Line Plot")
    )
    assert curves["config"]["groupBy"] == "temperature.value"
    assert curves["config"]["groupArea"] == "stddev"
    assert any(node.get("viewType") == "Run Comparer" for node in nodes(grids[-1]))


@pytest.mark.slow
def test_files_need_no_network(
    logged: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*values: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    written = make_dashboard(str(logged.folder), project=None, output=tmp_path, save=False)
    assert written.splitlines() == [str(tmp_path / f"{n}.json") for n in ("report", "workspace")]
    for name in ("report", "workspace"):
        spec = json.loads((tmp_path / f"{name}.json").read_text())
        assert (spec["project"]["name"] if name == "report" else spec["project"]) == "bitstill"


@pytest.mark.slow
def test_saved_and_saved_again(
    logged: Logged, tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(logged.folder, tmp_path / "mine", symlinks=True)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()
    said = make_dashboard(str(folder), project=None, output=None, save=True)
    assert len(server.views) == 2
    assert {one["displayName"] for one in server.views.values()} == {"bitstill: mine"}
    assert {one["entityName"] for one in server.views.values()} == {ENTITY}
    assert said.splitlines()[2].startswith(f"{server.url}/{ENTITY}/bitstill/reports/")
    again = make_dashboard(str(folder), project=None, output=None, save=True)
    assert again == said
    assert len(server.views) == 2, "in place of the first ones"
    kinds = {one["type"]: one["spec"] for one in server.views.values()}
    assert named(kinds["runs"]) == named(plain(report(find_source(str(folder)))))
    wandb.teardown()


def test_a_project_needs_no_runs() -> None:
    source = find_source("lab/mine")
    assert (source.entity, source.project, source.group) == ("lab", "mine", "")
    assert list(source.losses) == ["hard", "soft", "soft_hard", "gt_soft_hard"]
    blocks = plain(report(source))["spec"]["blocks"]
    grid = next(node for node in blocks if node["type"] == "panel-grid")
    [runs] = grid["metadata"]["runSets"]
    keys = [one["key"]["name"] for one in runs["filters"]["filters"]]
    assert keys == ["loss_name", "model"], "of every sweep"


@pytest.mark.parametrize("place", ["a/b/c", "/", ""])
def test_neither_a_folder_nor_a_project(place: str) -> None:
    if Path(place).is_dir() and place:
        with pytest.raises(UserError, match="holds no runs"):
            find_source(place)
        return
    with pytest.raises(UserError, match="is neither a folder nor a project"):
        find_source(place)


@pytest.mark.parametrize("place", ["./nope", "../nope", "multirun/typo", "~/nope"])
def test_a_folder_that_is_not_there_is_no_project(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "multirun").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"is not a folder: give a sweep's, such as multirun/quick"):
        find_source(place)
