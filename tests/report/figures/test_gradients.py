"""The ratio of the two gradients against T."""

import pytest

from bitstill.report.figures.gradients import gradient_figures
from bitstill.report.gradients import GRID, Ratio


@pytest.mark.parametrize("losses", [["soft_hard"], ["gt_soft_hard"], ["soft_hard", "gt_soft_hard"]])
def test_a_loss_that_was_not_measured_has_no_panel(losses: list[str]) -> None:
    ratio = dict.fromkeys(GRID, 2.0)
    [figure] = gradient_figures([Ratio(loss, 0, ratio, ratio) for loss in reversed(losses)])
    panels = figure.spec["hconcat"]  # type: ignore[index]
    assert [panel["title"] for panel in panels] == losses
    assert list(dict.fromkeys(row["loss"] for row in figure.rows)) == losses
