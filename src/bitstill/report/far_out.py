"""Runs that did not learn, far below all others: they are named, but stay in all numbers."""

from collections.abc import Iterable, Sequence

import numpy as np

from bitstill.report.sweeps import Run, RunSet, View

_POINTS = 20.0


def fence(accuracies: Sequence[float]) -> float:
    """Return the accuracy, in percent, below which a run is far below the others.

    That is seven median absolute deviations below the median. For normal noise Tukey's far out
    values begin there, too (1977, Exploratory Data Analysis), but this also works for few values
    of which some are far out. It is at least 20 points below: where all runs lie close together,
    ordinary ones would be named, too.
    """
    middle = np.median(accuracies)
    spread = np.median(np.abs(np.asarray(accuracies) - middle))
    return float(middle - max(7 * spread, _POINTS))


def far_out(runs: RunSet, view: View) -> list[Run]:
    """Return the finished students that are far below the set's other students."""
    done = [run for run in runs.students if run.done]
    measured = [(run, value) for run in done if (value := run.percent(view)) is not None]
    if not measured:
        return []
    limit = fence([value for _, value in measured])
    return [run for run, value in measured if value < limit]


def far_out_text(runs: RunSet, view: View) -> str:
    """Return a sentence that names the students far below the others; empty without any."""
    return said_of(far_out(runs, view), view)


def said_of(runs: Iterable[Run], view: View) -> str:
    """Return that sentence for runs already known to be far below."""
    names = [
        f"{run.record.cell} seed {run.record.seed} ({run.percent(view):.1f} %)" for run in runs
    ]
    if not names:
        return ""
    return (
        f"Far below all other students, but included in all numbers: {', '.join(names)}; "
        f"{view.label} batch norm statistics."
    )
