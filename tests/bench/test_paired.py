"""Pairing, medians and the table, with made-up clocks."""

import json
from collections.abc import Callable

import pytest

from bitstill.bench.paired import Report, as_json, as_table, paired, versions

SETTINGS = {"threads": 1, "batch": 256}


def clock(*seconds: float) -> Callable[[], float]:
    return iter(seconds).__next__


def made_up() -> Report:
    # A machine that becomes three times as slow in the last round.
    subjects = {"plain": clock(99, 4, 4, 12), "ours": clock(99, 1, 2, 3)}
    timings = paired(subjects, yardstick="plain", rounds=3, settings=SETTINGS)
    return Report("ms a step", 1e3, 3, timings, {"python": "3"}, {"bound": "60%"}, "a processor")


def test_speedups_are_taken_within_a_round() -> None:
    plain, ours = made_up().timings
    assert list(plain.seconds) == [4, 4, 8]
    assert list(plain.speedup) == [1, 1, 1]
    assert list(ours.seconds) == [1.5, 2, 2.5]
    assert list(ours.speedup) == [3, 4, 4]


def test_a_package_by_another_name_has_no_version() -> None:
    found = versions(["pytest", "pytest-by-another-name"])
    assert found["pytest"] == pytest.__version__
    assert found["pytest-by-another-name"] == "unknown"


def test_measuring_shows_progress(
    watch: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    watch()
    made_up()
    shown = capsys.readouterr().err
    assert "measuring: 100%" in shown
    assert "8/8" in shown, "of two subjects in a round to warm up and three"


def test_the_table() -> None:
    assert as_table(made_up()).splitlines() == [
        "a processor; python 3",
        "bound: 60%",
        "medians of 3 paired rounds, quartiles in brackets",
        "",
        "| threads | batch | what | ms a step | speedup |",
        "| --- | --- | --- | --- | --- |",
        "| 1 | 256 | plain | 4000.0 [4000.0, 8000.0] | 1.00 [1.00, 1.00] |",
        "| 1 | 256 | ours | 2000.0 [1500.0, 2500.0] | 4.00 [3.00, 4.00] |",
    ]


def test_json_holds_it_all() -> None:
    parsed = json.loads(as_json(made_up()))
    assert parsed["timings"][1] == {
        "subject": "ours",
        "settings": SETTINGS,
        "seconds": [1.5, 2, 2.5],
        "speedup": [3, 4, 4],
    }
    assert parsed["facts"] == {"bound": "60%"}
