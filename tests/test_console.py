"""What is said in the terminal."""

from collections.abc import Callable
from typing import Any

import pytest

from bitstill import console
from bitstill.runs import RunRecord

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (75, "1:15"),
        (3600, "1:00:00"),
        (7325, "2:02:05"),
    ],
)
def test_a_time_is_shown_as_on_a_clock(seconds: float, shown: str) -> None:
    assert console.clock(seconds) == shown


def test_tables_of_nothing_are_nothing(capfd: Captured) -> None:
    console.print_tables([])
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_a_run_that_is_not_done_is_in_no_table(
    made_up: Callable[..., RunRecord], status: Any, capfd: Captured
) -> None:
    console.print_tables([made_up(status=status)])
    assert capfd.readouterr().out == ""
