"""A clock that jumps by hours, back and forth, and files from the past and the future."""

import os
import re
from typing import Any

import pytest
from tests.faults.conftest import PARALLEL, SWEPT, Place
from tests.faults.test_kill import has_epoch, wait_for

from bitstill.runs import load_sweep

pytestmark = pytest.mark.slow

# Of what libraries ask: five hours ahead for some calls, then five hours behind, and so on.
JUMPING = """
import itertools, os, time

real, calls, years = time.time, itertools.count(), float(os.environ["YEARS"])

def jumping():
    hours = 5 if next(calls) // 7 % 2 else -5
    return real() + 3600 * hours + years * 365 * 86400

time.time, time.time_ns = jumping, lambda: int(jumping() * 1e9)
"""
LOGGED = "logger=[tensorboard]"  # which dates its events


def test_a_sweep_under_a_clock_that_jumps(place: Place, undisturbed: Any, bitstill: Any) -> None:
    """It is killed, and goes on ten years earlier, with files of 1971 and of 2100."""
    process = place.start(*SWEPT, *PARALLEL, LOGGED, env=place.hooked(JUMPING, YEARS="0"))
    wait_for(lambda: has_epoch(place, "hard"), process)
    place.kill(process)
    for number, path in enumerate(sorted(place.folder.rglob("*"))):
        year = (1971, 2100)[number % 2]
        os.utime(path, ((year - 1970) * 365.25 * 86400,) * 2)

    earlier = place.hooked(JUMPING, YEARS="-10")
    code, _, err = place.run(*SWEPT, LOGGED, env=earlier)
    assert code == 0, err
    assert place.results() == undisturbed
    assert not re.search(r"\s-\d", err), "negative times"
    for record in load_sweep(place.folder / "mine"):
        assert 0 < record.seconds < 300
        assert record.images_per_second > 0
    shown = bitstill("status", str(place.folder / "mine"), env=earlier)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "2/2 done" in shown.stdout
