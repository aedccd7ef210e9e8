"""Curves on disk, and the selected epochs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitstill.errors import UserError
from bitstill.runs import Row, RunPaths
from bitstill.runs.curves import read_curves, select, write_curves


def rows(test: list[float], val: list[float] | None = None) -> list[Row]:
    found = []
    for index, accuracy in enumerate(test):
        row = {"epoch": index + 1, "train/loss": 1.0, "test/accuracy": accuracy}
        found.append(row | ({} if val is None else {"val/accuracy": val[index]}))
    return found


def test_select_the_three_epochs() -> None:
    chosen = select(rows([0.1, 0.9, 0.3, 0.2], [0.1, 0.2, 0.8, 0.4]), ["running"])
    assert chosen == {
        "running": {
            "last": {"epoch": 4, "val/accuracy": 0.4, "test/accuracy": 0.2},
            "best_val": {"epoch": 3, "val/accuracy": 0.8, "test/accuracy": 0.3},
            "best_test": {"epoch": 2, "val/accuracy": 0.2, "test/accuracy": 0.9},
        }
    }


def test_select_the_first_of_equals() -> None:
    chosen = select(rows([0.1, 0.5, 0.5], [0.2, 0.1, 0.2]), ["running"])["running"]
    best_val, best_test = chosen["best_val"], chosen["best_test"]
    assert best_val is not None
    assert best_test is not None
    assert (best_val["epoch"], best_test["epoch"]) == (1, 2)


def test_select_without_validation_images() -> None:
    chosen = select(rows([0.1, 0.5]), ["running"])["running"]
    assert chosen["best_val"] is None
    assert chosen["best_test"] == {"epoch": 2, "test/accuracy": 0.5}


def test_select_each_kind_of_statistics_by_itself() -> None:
    both = [
        row | {"test/accuracy_precise": precise}
        for row, precise in zip(rows([0.9, 0.1]), [0.2, 0.3], strict=True)
    ]
    chosen = select(both, ["running", "precise"])
    assert chosen["running"]["best_test"] == {"epoch": 1, "test/accuracy": 0.9}
    assert chosen["precise"]["best_test"] == {"epoch": 2, "test/accuracy": 0.3}


NUMBERS = st.floats(allow_nan=False)


@given(st.lists(st.tuples(NUMBERS, st.floats(0, 1)), min_size=1, max_size=5))
def test_curves_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[float, float]]
) -> None:
    written: list[Row] = [
        {"epoch": index + 1, "train/loss": loss, "test/accuracy": accuracy}
        for index, (loss, accuracy) in enumerate(values)
    ]
    paths = RunPaths(tmp_path_factory.mktemp("curves"))
    write_curves(paths, written)
    assert read_curves(paths) == written


def test_damaged_curves_are_one_line(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    paths.metrics.write_text("epoch,train/loss\n1,abc\n")
    with pytest.raises(UserError, match=r"metrics.csv cannot be read .*: move it away"):
        read_curves(paths)


def test_curves_may_gain_a_column(tmp_path: Path) -> None:
    written: list[Row] = [{"epoch": 1}, {"epoch": 2, "new": 0.5}]
    write_curves(RunPaths(tmp_path), written)
    assert RunPaths(tmp_path).metrics.read_text() == "epoch,new\n1,\n2,0.5\n"
    assert read_curves(RunPaths(tmp_path)) == written
