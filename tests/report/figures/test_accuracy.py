"""Accuracy over temperature: where the axis ends, and what is beyond."""

import dataclasses
import re
from collections.abc import Callable

import pytest

from bitstill.report.claims import primary_view
from bitstill.report.figures.accuracy import accuracy_figures
from bitstill.report.figures.figure import Figure, to_svg
from bitstill.report.sweeps import PUBLISHED_VIEW, Run, RunSet

CELLS = [("teacher", None), ("soft", 10.0), ("soft", 15.0)]


def percent(loss: str, temperature: float | None, seed: int) -> float:
    """Two points between the seeds; T = 15 is one point ahead."""
    return 95.0 if loss == "teacher" else 87 + seed / 2 + (temperature == 15)


def axis(figure: Figure) -> list[int]:
    assert figure.spec is not None
    [domain] = {
        str(one["encoding"]["y"]["scale"]["domain"])
        for one in figure.spec["layer"]
        if "scale" in one["encoding"]["y"]
    }
    return [int(one) for one in re.findall(r"\d+", domain)]


def test_every_run_is_on_the_axis(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(percent, cells=CELLS)
    [figure] = accuracy_figures(runs, PUBLISHED_VIEW)
    assert axis(figure) == [87, 96], "the least seed, and the teacher's best test epoch"
    assert "triangle" not in to_svg(figure)


@pytest.mark.parametrize(("accuracy", "low"), [(24.2, 87), (68.0, 68)])
def test_runs_that_did_not_learn_are_numbers_below(
    make_set: Callable[..., RunSet], accuracy: float, low: int
) -> None:
    """Twenty points below the others are no reason to cut; what is below is told all the same."""

    def two_fail(loss: str, temperature: float | None, seed: int) -> float:
        fails = temperature == 15.0 and seed > 2
        return accuracy + seed if fails else percent(loss, temperature, seed)

    [figure] = accuracy_figures(make_set(two_fail, cells=CELLS), PUBLISHED_VIEW)
    assert axis(figure)[0] == (low if low == 87 else 71)
    texts = re.findall(
        r"<text [^>]*translate\(([\d.]+),([\d.]+)\)[^>]*>([\d.]+)</text>", to_svg(figure)
    )
    places = {text: (x, y) for x, y, text in texts}
    # The published choice of an epoch is 0.4 above.
    first, second = (f"{accuracy + seed + 0.4:.1f}" for seed in (3, 4))
    mean = f"{(88.0 + 88.5 + 89.0 + 2 * accuracy + 7) / 5 + 0.4:.1f}"
    if low == 87:
        assert places[first] != places[second]
        assert mean in places
    else:
        assert not {first, second, mean} & places.keys()


def test_what_verdicts_rest_on_is_drawn_first(make_set: Callable[..., RunSet]) -> None:
    runs = make_set(percent, cells=CELLS)
    exact = [
        dataclasses.replace(run.record, selections={"precise": run.record.selections["precise"]})
        for run in runs.runs
    ]
    made = [Run(run.paths, record) for run, record in zip(runs.runs, exact, strict=True)]
    for shown, first, count in (
        (runs, "running/best_val", 6),
        (dataclasses.replace(runs, runs=made), "precise/best_val", 3),
    ):
        [figure] = accuracy_figures(shown, primary_view(shown))
        assert figure.spec is not None
        [views, _] = figure.spec["params"]
        assert views["value"] == first
        assert len(views["bind"]["options"]) == count
        assert any(row["kind"] == "seed" and row["view"] == first for row in figure.rows)
        kind = "running" if shown is runs else "exact"
        said = (
            f"in the picture files: best val, {kind} batch norm statistics, on which verdicts rest."
        )
        assert said in figure.caption
    begun = make_set(percent, cells=CELLS, status="running")
    [figure] = accuracy_figures(begun, primary_view(begun))
    assert figure.caption.endswith(
        "in the picture files: best test, running batch norm statistics."
    )
