"""Texts without this machine's folders."""

import logging
import sys
import traceback
from pathlib import Path

import pytest

from bitstill.portable import PortableFormatter, portable_text


def test_folders_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, work = tmp_path / "alice", tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    text = f"{work}/multirun/mine/run.json, {home}/data, {work}"
    assert portable_text(text) == "./multirun/mine/run.json, ~/data, ."


def test_a_folder_whose_name_begins_alike_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "q"
    work.mkdir()
    monkeypatch.setenv("HOME", str(work))
    monkeypatch.chdir(work)
    same = f"{work}2/digits, {work}-old, {work}.bak/x"
    assert portable_text(same) == same
    assert portable_text(f"it is {work}.") == "it is .."


def test_a_user_may_have_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    assert portable_text(f"~ and {tmp_path}/x") == "~ and ./x"


def test_a_home_that_is_the_root_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    monkeypatch.chdir("/")
    assert portable_text("a / b, /data/x") == "a / b, /data/x"


def test_tracebacks_keep_the_names_of_imported_files() -> None:
    try:
        Path("nowhere").read_text()
    except OSError as error:
        text = portable_text("".join(traceback.format_exception(error)))
    assert 'File "pathlib' in text
    assert sys.base_prefix not in text
    assert str(Path(__file__).parents[2]) not in text


def test_a_log_is_portable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "in %s", (tmp_path / "run",), None)
    assert PortableFormatter("%(message)s").format(record) == "in ./run"
