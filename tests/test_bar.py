"""Bars of work that may take long."""

import sys
from collections.abc import Callable

import pytest

from bitstill.bar import bar

Captured = pytest.CaptureFixture[str]
Watch = Callable[[], None]


def counted() -> None:
    with bar(3, "counting", "things") as shown:
        for _ in range(3):
            shown.update()


def test_a_terminal_sees_what_takes_long_until_it_is_done(watch: Watch, capsys: Captured) -> None:
    watch()
    counted()
    *drawn, last = capsys.readouterr().err.rstrip("\r").split("\r")
    assert any("counting" in one and "2/3" in one and "things" in one for one in drawn)
    assert not last.strip(), "gone at the end"


def test_what_is_quick_is_not_drawn(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    counted()
    assert "counting" not in capsys.readouterr().err


def test_a_file_has_no_bar(watch: Watch, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    watch()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    counted()
    assert capsys.readouterr() == ("", "")
