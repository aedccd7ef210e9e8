"""Which runs a sweep has asked for: from its folder, wherever that lies."""

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.asked import ONE, TWO, expected, teacher

from bitstill.errors import UserError
from bitstill.runs import RunPaths
from bitstill.runs.manifest import Expected, read_manifest, write_manifest


def asked_for(folder: Path) -> list[Expected]:
    """Read a manifest, with plain folders."""

    def plain(paths: RunPaths) -> RunPaths:
        return RunPaths(Path(os.path.normpath(paths.directory)))

    return [
        dataclasses.replace(
            one, paths=plain(one.paths), stored=plain(one.stored) if one.stored else None
        )
        for one in read_manifest(folder)
    ]


def test_a_manifest_is_the_union_of_what_was_asked_for(folder: Path) -> None:
    one, two, three = expected(folder, "a", ONE), expected(folder, "b", TWO), teacher(folder)
    assert read_manifest(folder) == []
    write_manifest(folder, [one, three])
    assert asked_for(folder) == [one, three]
    again = expected(folder, "b", ONE, epochs=7)  # the newer word counts
    write_manifest(folder, [two, again])
    assert asked_for(folder) == [again, three, two]


def test_a_sweep_s_folder_may_be_a_link(folder: Path) -> None:
    """To a disk with more room, say; the teachers lie beside the link."""
    linked = folder.parent / "elsewhere" / "deep" / "mine"
    linked.mkdir(parents=True)
    link = folder.parent / "link"
    link.symlink_to(linked)
    stored = folder.parent / "teachers" / "a"
    stored.mkdir(parents=True)
    one = dataclasses.replace(teacher(link), stored=RunPaths(stored))
    write_manifest(link, [one])
    [found] = read_manifest(link)
    assert found.stored is not None
    assert found.stored.directory.samefile(stored)


def test_sweeps_that_begin_at_once_in_one_folder_are_all_in_its_manifest(folder: Path) -> None:
    wanted = [expected(folder, str(number), f"{number:064}") for number in range(16)]
    (folder / ".sweep.json.abcd1234").touch()  # of a process that was killed
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: write_manifest(folder, [one]), wanted))
    assert {one.identity for one in read_manifest(folder)} == {one.identity for one in wanted}
    assert {path.name for path in folder.iterdir()} == {"sweep.json", "sweep.lock"}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b'{"runs": [', b"[]", b"{}", b'{"runs": 3}', b'{"runs": [{"cell": "a"}]}', b"\xff"),
        b'{"cells": [{"name": "hard T=15 seed 0"}]}',  # of before
    ],
)
def test_a_damaged_manifest_is_refused_in_one_line(folder: Path, content: bytes) -> None:
    path = folder / "sweep.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_manifest(folder)
    line = str(caught.value)
    assert line.startswith(f"{path} cannot be read (")
    assert line.endswith("): remove it, the sweep writes it again")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cell", 3),
        ("seed", "3"),
        ("difference", None),
        ("identity", None),
        ("epochs", "4"),
        ("directory", ["a"]),
        ("stored", 3),
    ],
)
def test_a_run_with_a_value_of_another_type_is_refused(folder: Path, key: str, value: Any) -> None:
    write_manifest(folder, [expected(folder, "a", ONE)])
    path = folder / "sweep.json"
    [entry] = json.loads(path.read_bytes())["runs"]
    path.write_text(json.dumps({"runs": [entry | {key: value}]}))
    with pytest.raises(UserError, match="a run in it has wrong values"):
        read_manifest(folder)


def test_a_name_says_the_cell_and_what_a_run_differs_in() -> None:
    one = Expected("soft T=15", 3, ONE, 4, RunPaths(Path("run")))
    assert one.name == "soft T=15 seed 3"
    other = dataclasses.replace(one, difference="quantizer=dorefa, seed=1")
    assert other.name == "soft T=15 seed 3, quantizer=dorefa, seed=1"
