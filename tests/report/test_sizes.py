"""Sizes of models, from their records."""

from pathlib import Path

from tests.report.conftest import write_run

from bitstill.report.sets import run_sets
from bitstill.report.sizes import model_sizes
from bitstill.report.sweeps import read_sweep

SIZES = {"checkpoint": 3_500_000, "float32": 1_173_672, "deployed": 79_828}


def test_sizes_are_the_recorded_ones(tmp_path: Path) -> None:
    write_run(tmp_path, "teacher", None, 0, 90.0, sizes=SIZES)
    write_run(tmp_path, "hard", 15.0, 0, 90.0, sizes=SIZES)
    (found,) = run_sets(read_sweep(tmp_path))
    assert model_sizes(list(found.runs)) == {"teacher": SIZES, "student": SIZES}


def test_sizes_of_an_older_record_are_missing(tmp_path: Path) -> None:
    write_run(tmp_path, "hard", 15.0, 0, 90.0, sizes={"checkpoint": 3_500_000})
    (found,) = run_sets(read_sweep(tmp_path))
    assert model_sizes(list(found.runs)) == {}
