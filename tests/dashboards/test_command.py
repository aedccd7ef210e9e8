"""``bitstill dashboard``: what it replaces, and what ``--save`` remembers."""

import json
import os
from pathlib import Path

import pytest

from bitstill.dashboards.command import _before, make_dashboard
from bitstill.errors import UserError


@pytest.mark.parametrize("text", ["{", "[]", '{"project": ["me", "digits"]}'])
def test_a_damaged_note_of_what_was_saved_is_one_line(tmp_path: Path, text: str) -> None:
    known = tmp_path / "saved.json"
    assert _before(known) == {}
    known.write_text(text)
    with pytest.raises(UserError, match=r"saved\.json cannot be read \(.*\): remove it"):
        _before(known)


def test_wandb_reports_no_errors_to_its_makers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "true")  # and back at the end, whatever it was
    monkeypatch.delenv("WANDB_ERROR_REPORTING")
    make_dashboard("team/digits", project=None, output=tmp_path, save=False)
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


@pytest.mark.parametrize("name", ["a+b", "lr=0.1", "\u2728"])
def test_symbols_in_a_name(tmp_path: Path, name: str) -> None:
    """Wandb takes none in the name of a workspace."""
    make_dashboard(f"team/{name}", project=None, output=tmp_path, save=False)
    assert name in json.loads((tmp_path / "report.json").read_text())["displayName"]


def test_a_name_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is neither a folder nor a project"):
        make_dashboard("a\udcff", project=None, output=tmp_path, save=False)


def test_a_file_of_others_is_not_replaced(tmp_path: Path) -> None:
    def make() -> str:
        return make_dashboard("team/digits", project=None, output=tmp_path, save=False)

    assert make() == make()  # its own is
    report = tmp_path / "report.json"
    report.write_text('{"sets": []}')  # of `bitstill report`
    with pytest.raises(UserError, match=r"report\.json is not of an earlier dashboard: remove it"):
        make()
    assert report.read_text() == '{"sets": []}'


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/mine cannot be written \(Not a directory\): give"):
        make_dashboard("team/digits", project=None, output=tmp_path / "file" / "mine", save=False)
