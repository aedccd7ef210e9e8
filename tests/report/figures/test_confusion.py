"""The confusion matrix, by hand."""

import numpy as np
import pytest

from bitstill.report.figures.confusion import confusion_figure
from bitstill.report.figures.figure import to_png, to_svg


def test_counts_and_shares() -> None:
    figure = confusion_figure(np.array([0, 0, 0, 1, 2]), np.array([0, 0, 2, 1, 1]), "hard T=15")
    found = {(row["true"], row["predicted"]): row["images"] for row in figure.rows}
    assert found == {
        **{(0, 0): 2, (0, 1): 0, (0, 2): 1},
        **{(1, 0): 0, (1, 1): 1, (1, 2): 0},
        **{(2, 0): 0, (2, 1): 1, (2, 2): 0},
    }
    shares = [row["share"] for row in figure.rows if row["true"] == 0]
    assert shares == [2 / 3, 0, 1 / 3]
    assert figure.caption.startswith("hard T=15: ")


def test_it_is_drawn() -> None:
    labels = np.arange(10).repeat(5)
    svg = to_svg(confusion_figure(labels, np.roll(labels, 1), "hard T=15"))
    assert svg.count("<text") >= 100
    assert to_png(svg).startswith(b"\x89PNG")


@pytest.mark.parametrize(("classes", "written"), [(30, True), (31, False), (200, False)])
def test_many_classes_are_no_larger_picture(classes: int, written: bool) -> None:
    labels = np.arange(classes)
    figure = confusion_figure(labels, labels, "hard T=15")
    assert figure.spec is not None
    assert figure.spec["width"]["step"] * classes <= 1200
    assert (len(figure.spec["layer"]) == 2) == written
