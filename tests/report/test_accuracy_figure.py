"""Accuracy over temperature: where the axis ends, and what is beyond."""

import re
from collections.abc import Callable

import pytest

from bitstill.report.figures.accuracy import accuracy_figure
from bitstill.report.figures.figure import Figure, to_svg
from bitstill.report.sweeps import RunSet

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
    figure = accuracy_figure(runs)
    assert axis(figure) == [87, 96], "the least seed, and the teacher's best test epoch"
    assert "triangle" not in to_svg(figure)


@pytest.mark.parametrize(("accuracy", "low"), [(24.2, 87), (78.0, 78)])
def test_a_run_that_did_not_learn_is_a_number_below(
    make_set: Callable[..., RunSet], accuracy: float, low: int
) -> None:
    """Ten points below the others are no reason to cut; what is below is told all the same."""

    def one_fails(loss: str, temperature: float | None, seed: int) -> float:
        return accuracy if (temperature, seed) == (15.0, 4) else percent(loss, temperature, seed)

    figure = accuracy_figure(make_set(one_fails, cells=CELLS))
    assert axis(figure)[0] == low
    texts = set(re.findall(r"<text [^>]*>([\d.]+)</text>", to_svg(figure)))
    mean = (4 * 88.75 + accuracy) / 5 + 0.4  # the published choice of an epoch is 0.4 above
    below = {f"{accuracy + 0.4:.1f}", f"{mean:.1f}"}
    assert texts >= below if low == 87 else not texts & below
