"""Every student of a set against those trained with ``hard``."""

from bitstill.report.paired import (
    HEADER,
    CellComparison,
    compare_cells,
    comparison_caption,
    comparison_row,
    did_not_learn,
    of_common_seeds,
)
from bitstill.report.sweeps import HARD, RunSet, View
from bitstill.report.table import Table
from bitstill.runs.identity import TEACHER


def baseline_of(runs: RunSet) -> str | None:
    """Return the cell that students are compared with: ``hard`` at T = 15, or at its lowest T."""
    cells = runs.cells_of("hard")
    return HARD if HARD in cells else next(iter(cells), None)


def against_baseline(runs: RunSet, view: View) -> list[CellComparison]:
    """Compare every other student cell of a set with its baseline; with none, there is nothing."""
    base = baseline_of(runs)
    if base is None:
        return []
    first = runs.percents(base, view)
    others = [cell for cell in runs.cells if cell not in (base, TEACHER)]
    sides = {cell: of_common_seeds(first, runs.percents(cell, view)) for cell in others}
    return compare_cells(sides, waits=_students_awaited(runs))


def baseline_table(runs: RunSet, view: View) -> Table:
    """Return these comparisons as a table; empty with a single seed, which proves nothing."""
    base = baseline_of(runs) or ""
    found = against_baseline(runs, view) if len(runs.seeds) > 1 else []
    shown = {(cell, seed) for one in found for seed in one.first for cell in (base, one.cell)}
    caption = (
        f"{comparison_caption(view, waits=_students_awaited(runs))} No verdict rests on this "
        f"table. {did_not_learn([runs], view, shown)}"
    ).rstrip()
    header = ("student", base, "accuracy", *HEADER)
    title = f"Every student against {base}"
    return Table("baseline", title, caption, header, [comparison_row(one) for one in found])


def _students_awaited(runs: RunSet) -> bool:
    """Whether any student is still to come: each row more changes the correction of all."""
    return bool(runs.awaited.keys() - {TEACHER})
