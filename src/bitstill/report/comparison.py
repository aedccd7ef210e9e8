"""Compares two sets: the cells in both, with paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass

from bitstill.report.claims import primary_view
from bitstill.report.paired import (
    HEADER,
    CellComparison,
    compare_cells,
    comparison_caption,
    comparison_row,
    did_not_learn,
    of_common_seeds,
)
from bitstill.report.sweeps import STATISTICS_NAMES, RunSet, View
from bitstill.report.table import Table


@dataclass(frozen=True)
class SetComparison:
    """Two sets, cell by cell.

    Attributes:
        first: one set.
        second: the other.
        view: the accuracy that is compared.
        cells: those that both have.
        waits: whether runs of these cells are still to come. Then there is no p, as it would
            depend on when one looks.
    """

    first: RunSet
    second: RunSet
    view: View
    cells: Sequence[CellComparison]
    waits: bool

    def table(self, name: str) -> Table:
        """Return the comparison as a table."""
        caption = comparison_caption(self.view, waits=self.waits)
        differing = _differing(self.first, self.second)
        if "data_identity" in differing:
            caption += (
                " Both p take the images of each set as given: over other images, differences vary "
                "more."
            )
        if differing:
            caption = f"The sets differ in {', '.join(differing)}. " + caption
        shown = {(one.cell, seed) for one in self.cells for seed in one.first}
        if named := did_not_learn((self.first, self.second), self.view, shown):
            caption += f" {named}"
        title = f"{self.first.name} and {self.second.name}, cell by cell"
        header = ("cell", "first", "second", *HEADER)
        return Table(name, title, caption, header, [comparison_row(one) for one in self.cells])


def pairs(first: Sequence[RunSet], later: Sequence[RunSet]) -> list[tuple[RunSet, RunSet]]:
    """Return the pairs of sets to compare: one from the first sweep, one from a later one.

    Each set is paired with the sets of the other side that differ from it in the fewest settings,
    among those that have a cell in common with it.
    """
    distances = {
        (ours, theirs): len(_differing(one, other))
        for theirs, other in enumerate(later)
        for ours, one in enumerate(first)
        if _cells_of_both(one, other)
    }
    least: dict[tuple[str, int], int] = {}
    for (ours, theirs), distance in distances.items():
        for side in (("first", ours), ("later", theirs)):
            least[side] = min(distance, least.get(side, distance))
    return [
        (first[ours], later[theirs])
        for (ours, theirs), distance in distances.items()
        if distance in (least["first", ours], least["later", theirs])
    ]


def pairs_within(sets: Sequence[RunSet]) -> list[tuple[RunSet, RunSet]]:
    """Return the pairs to compare within a sweep: each set with the most similar earlier one.

    Similarity is defined as in :func:`pairs`; among equals, the first set is taken.
    """
    found = []
    for number, one in enumerate(sets):
        if earlier := [other for other in sets[:number] if _cells_of_both(other, one)]:
            nearest = min(earlier, key=lambda other: len(_differing(other, one)))
            found.append((nearest, one))
    return found


def _cells_of_both(first: RunSet, second: RunSet) -> list[str]:
    """Return the cells in both, except those whose common seeds are the same runs."""

    def runs(of: RunSet, cell: str) -> dict[int, str]:
        return {run.record.seed: run.record.identity for run in of.of(cell)}

    found = []
    for cell in first.cells:
        ours, theirs = runs(first, cell), runs(second, cell)
        common = ours.keys() & theirs.keys()
        if theirs and not (common and all(ours[seed] == theirs[seed] for seed in common)):
            found.append(cell)
    return found


def _shared_view(first: RunSet, second: RunSet) -> View:
    """Return the view that both sets rest on, or else the last epoch in common statistics."""
    views = {primary_view(first), primary_view(second)}
    if len(views) == 1:
        return views.pop()
    last = [View(statistics, "last") for statistics in STATISTICS_NAMES]
    return next((view for view in last if first.measured(view) and second.measured(view)), last[0])


def compare_sets(first: RunSet, second: RunSet) -> SetComparison:
    """Compare the cells that both sets have, seed by seed."""
    view, cells = _shared_view(first, second), _cells_of_both(first, second)
    waits = not {*first.awaited, *second.awaited}.isdisjoint(cells)
    sides = {
        cell: of_common_seeds(first.percents(cell, view), second.percents(cell, view))
        for cell in cells
    }
    return SetComparison(first, second, view, compare_cells(sides, waits=waits), waits)


def _differing(first: RunSet, second: RunSet) -> list[str]:
    """Return the settings that both sets have and in which they differ.

    A set of teachers is compared with the teachers of a set with students.
    """
    theirs = second.settings
    differing = [key for key, value in first.settings.items() if theirs.get(key, value) != value]
    return [key for key in differing if key != "model"]
