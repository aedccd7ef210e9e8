"""The content of a report, measured and worded, independent of its output format."""

import dataclasses
import functools
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bitstill.data import ImageData
from bitstill.errors import UserError
from bitstill.report.baseline import baseline_table
from bitstill.report.claim_tables import claims_table, robustness_table, tests_table
from bitstill.report.claims import findings, primary_view
from bitstill.report.comparison import (
    SetComparison,
    compare_sets,
    pairs,
    pairs_within,
)
from bitstill.report.cost import cost_table
from bitstill.report.far_out import far_out, far_out_text
from bitstill.report.figures.accuracy import accuracy_figures
from bitstill.report.figures.calibration import calibration_figures
from bitstill.report.figures.claims import claim_figures
from bitstill.report.figures.curves import curve_figures
from bitstill.report.figures.figure import Figure
from bitstill.report.figures.flow import flow_figure
from bitstill.report.figures.gradients import gradient_figures
from bitstill.report.figures.size import size_figures
from bitstill.report.figures.soft_targets import soft_target_figures
from bitstill.report.figures.weights import weight_figures
from bitstill.report.findings import Finding
from bitstill.report.gradients import Ratio, gradient_ratios, slopes
from bitstill.report.noise import noise_table
from bitstill.report.outputs import images_of
from bitstill.report.progress import sweep_sets
from bitstill.report.seed_noise import seed_noise_table
from bitstill.report.sizes import Sizes, model_sizes, sizes_table
from bitstill.report.sweeps import VIEWS, RunSet, View, read_sweep, sweep_name
from bitstill.report.table import Table
from bitstill.report.tables import accuracy_tables, seeds_table, temperature_table
from bitstill.runs import ENDED

# How a figure's name begins, the same in words, and what it needs besides the records.
_DRAWN_FROM = (
    ("curves", "learning curves", "metrics.csv"),
    ("soft-targets", "soft targets", "the teacher's logits"),
    (
        "gradients",
        "gradients",
        "weights of students at T = 15, the teacher's logits and the images",
    ),
    ("weight", "quantized weights", "a student's weights"),
    (
        "size",
        "size against accuracy",
        "sizes of a teacher and of hard or soft_hard at T = 15",
    ),
    (
        "calibration",
        "calibration",
        "weights of students at T = 15 or of a teacher, and the images",
    ),
)


class SetReport:
    """The report on one set of runs; each part is computed when first used.

    Args:
        runs: comparable runs.
        explains: whether to include the figure that would be the same in every set.
    """

    def __init__(self, runs: RunSet, *, explains: bool = True) -> None:
        self.runs = runs
        self._explains = explains
        self.view = primary_view(runs)

    @functools.cached_property
    def sizes(self) -> dict[str, Sizes]:
        """The sizes of teacher and student."""
        return model_sizes(self.runs.runs)

    @functools.cached_property
    def _images(self) -> ImageData | None:
        """The images of the runs, if they are available."""
        return images_of(run for run in self.runs.runs if run.done)

    @functools.cached_property
    def ratios(self) -> list[Ratio]:
        """The measured ratios of gradient norms."""
        return gradient_ratios(self.runs, self._images)

    def findings(self, view: View) -> list[Finding]:
        """Return the answers to all claims for one kind of accuracy."""
        ratios = slopes(self.ratios)
        return findings(self.runs, view, sizes=self.sizes, slopes=ratios)

    @property
    def asked(self) -> int:
        """How many runs its sweep asks for, finished or not, and the teachers that they read."""
        ended = sum(run.record.status in ENDED for run in self.runs.runs)
        return max(len(self.runs.runs), ended + sum(self.runs.awaited.values()))

    @property
    def finished(self) -> str:
        """How many of these are finished, as ``64 of 70``."""
        return f"{sum(run.done for run in self.runs.runs)} of {self.asked}"

    @functools.cached_property
    def by_view(self) -> dict[View, list[Finding]]:
        """The answers for every kind of accuracy that was measured."""
        return {view: self.findings(view) for view in VIEWS if self.runs.measured(view)}

    @functools.cached_property
    def main_findings(self) -> list[Finding]:
        """The answers for the accuracy that decides."""
        return self.by_view.get(self.view) or self.findings(self.view)

    @functools.cached_property
    def claims(self) -> Table:
        """The deciding answers as a table."""
        return claims_table(self.main_findings, view=self.view, cells=self.runs.cells)

    @functools.cached_property
    def tables(self) -> list[Table]:
        """All tables with content, the claims first."""
        tables = [
            self.claims,
            tests_table(self.main_findings),
            temperature_table(self.runs, self.view),
            baseline_table(self.runs, self.view),
            *accuracy_tables(self.runs),
            sizes_table(self.sizes),
            noise_table(self.runs, self.view),
            seed_noise_table(self.runs, self.view),
            *([self._robustness()] if len(self.runs.seeds) > 1 else []),
            seeds_table(self.runs),
            cost_table(self.runs),
        ]
        return [table for table in tables if table.rows]

    def _robustness(self) -> Table:
        without = far_out(self.runs, self.view)
        if not without:
            return robustness_table(self.by_view)
        kept = [run for run in self.runs.runs if run not in without]
        learned = dataclasses.replace(self.runs, runs=kept)
        found = findings(learned, self.view, sizes=self.sizes)
        return robustness_table(self.by_view, found, self.far_out)

    @functools.cached_property
    def figures(self) -> list[Figure]:
        """All figures that can be drawn from the files."""
        return [
            *claim_figures(self.main_findings),
            *accuracy_figures(self.runs, self.view),
            *curve_figures(self.runs),
            *([flow_figure()] if self._explains else []),
            *soft_target_figures(self.runs, self._images),
            *gradient_figures(self.ratios),
            *weight_figures(self.runs),
            *size_figures(self.runs, self.view, self.sizes),
            *calibration_figures(self.runs, self._images),
        ]

    @property
    def far_out(self) -> str:
        """A sentence that names the runs that did not learn; empty without any."""
        return far_out_text(self.runs, self.view)

    @functools.cached_property
    def left_out(self) -> dict[str, str]:
        """The figures that could not be drawn, and what they need."""
        drawn = [figure.name for figure in self.figures]
        return {
            words: source
            for begin, words, source in _DRAWN_FROM
            if not any(name.startswith(begin) for name in drawn)
        }

    @property
    def left_out_text(self) -> str:
        """The same as a sentence; empty if all figures are drawn."""
        parts = [f"{words} (from {source})" for words, source in self.left_out.items()]
        return f"Not drawn, for want of data: {'; '.join(parts)}." if parts else ""


@dataclass(frozen=True)
class Report:
    """The report on some sweeps, with their comparison.

    Attributes:
        folders: those of the sweeps.
        sets: those of all sweeps, in order.
        comparisons: those of the first sweep's sets with later sweeps', or of a single sweep's own.
    """

    folders: Sequence[Path]
    sets: Sequence[SetReport]
    comparisons: Sequence[SetComparison]

    @functools.cached_property
    def comparison_tables(self) -> list[Table]:
        """The comparisons as tables."""
        return [
            one.table(f"comparison-{number}")
            for number, one in enumerate(self.comparisons, start=1)
        ]

    @property
    def not_compared(self) -> str:
        """A sentence that names the sets that have no counterpart in another sweep."""
        compared = {runs.name for one in self.comparisons for runs in (one.first, one.second)}
        alone = [one.runs.name for one in self.sets if one.runs.name not in compared]
        if len(self.folders) == 1 or not alone:
            return ""
        names = ", ".join(alone)
        return f"Not compared, for want of a cell with other runs in another sweep: {names}."

    @property
    def command(self) -> str:
        """The command that makes this report."""
        return shlex.join(["bitstill", "report", *map(str, self.folders)])


def build(folders: Sequence[Path]) -> Report:
    """Read sweeps, and return the report.

    Raises:
        UserError: a folder holds no runs, or is given twice.
    """
    places = Counter(folder.resolve() for folder in folders)
    if twice := [str(folder) for folder in folders if places[folder.resolve()] > 1]:
        raise UserError(f"{' and '.join(twice)} are one folder: give each sweep once")
    read = [read_sweep(folder) for folder in folders]
    sweeps = [sweep_sets(runs) for runs in read]
    names = [runs.name for sets in sweeps for runs in sets]
    if len(set(names)) < len(names):  # sweeps that share a name are told apart by their folders
        sweeps = [
            [_named_by_folder(one, sweep_name(runs)) for one in sets]
            for runs, sets in zip(read, sweeps, strict=True)
        ]
    later = [runs for sets in sweeps[1:] for runs in sets]
    compared = pairs(sweeps[0], later) if later else pairs_within(sweeps[0])
    comparisons = [compare_sets(*both) for both in compared]
    every = [runs for sets in sweeps for runs in sets]
    reports = [SetReport(runs, explains=runs is every[0]) for runs in every]
    return Report(folders, reports, comparisons)


def _named_by_folder(runs: RunSet, sweep: str) -> RunSet:
    told = runs.name.removeprefix(sweep)
    return dataclasses.replace(runs, name=f"{runs.folder}{told}")
