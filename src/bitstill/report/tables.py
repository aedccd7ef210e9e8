"""Tables 1 to 4 with ours beside the published numbers; every seed; epoch noise; claims; sizes."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from bitstill.report import published
from bitstill.report.findings import Finding
from bitstill.report.noise import epoch_noise
from bitstill.report.sizes import Sizes
from bitstill.report.sweeps import (
    PUBLISHED_VIEW,
    SELECTIONS,
    STATISTICS,
    TEACHER,
    VIEWS,
    RunSet,
    View,
    cell_name,
)
from bitstill.report.table import NOT_APPLICABLE, Table
from bitstill.statistics import mean_interval

CAPTION = (
    "Test accuracy in %: mean over seeds ± 95 % t interval. Published numbers are of the epoch "
    "that was best on the test set, of one run: compare them with best test, running. best val: "
    "the epoch chosen on held-out training images. optimism: best test minus best val, in points. "
    "Batch norm is evaluated with running statistics, as published, or with exact ones."
)
_HEADER = ("published", "batch norm", *SELECTIONS.values(), "optimism", "n")
_STATES = {"running": "unfinished"}  # "running" means batch norm statistics here
_HARD = cell_name("hard", published.HARD_TEMPERATURE)


def accuracy_tables(runs: RunSet) -> list[Table]:
    """Return the published tables that a set of runs has something for."""
    cells, found = runs.cells, []
    if TEACHER in cells or any(cell.startswith("hard ") for cell in cells):
        others = [cell for cell in cells if cell.startswith("hard ") and cell != _HARD]
        rows = [
            *_rows(runs, TEACHER, "teacher", published.TEACHER_ACCURACY),
            *_rows(runs, _HARD, _HARD, published.HARD_ACCURACY),
            *(row for cell in others for row in _rows(runs, cell, cell, None)),
        ]
        title = "Table 1: teacher, and student from ground truth only (hard)"
        found.append(Table("table1", title, "", ("model", *_HEADER), rows))
    for number, (loss, accuracies) in enumerate(published.DISTILLED.items(), start=2):
        ours = [cell for cell in cells if cell.startswith(f"{loss} ")]
        if ours:
            known = dict(zip(published.TEMPERATURES, accuracies, strict=True))
            rows = _loss_rows(runs, loss, known, ours)
            title = published.TITLES[loss]
            found.append(Table(f"table{number}", title, "", ("T", *_HEADER), rows))
    return found


def temperature_table(runs: RunSet, view: View) -> Table:
    """Return mean test accuracy: a row a temperature, a column a loss."""
    records = [run.record for run in runs.runs if run.record.model != TEACHER]
    losses = list(dict.fromkeys(cell.split(" ")[0] for cell in runs.cells if cell != TEACHER))
    temperatures = sorted({one.temperature for one in records if one.temperature is not None})
    cells = {one.cell for one in records}

    def entry(loss: str, temperature: float) -> str:
        cell = cell_name(loss, temperature)
        return _mean(runs, cell, view) if cell in cells else NOT_APPLICABLE

    rows = [[f"{value:g}", *(entry(loss, value) for loss in losses)] for value in temperatures]
    caption = (
        f"Test accuracy in %: {SELECTIONS[view.selection]}, {STATISTICS[view.statistics]} batch "
        "norm statistics; mean over seeds ± 95 % t interval."
    )
    return Table("temperatures", "Temperature and loss", caption, ("T", *losses), rows)


def _loss_rows(
    runs: RunSet, loss: str, known: Mapping[float, float], ours: Sequence[str]
) -> list[list[str]]:
    temperatures = {run.record.temperature for cell in ours for run in runs.of(cell)} | set(known)
    rows = []
    for temperature in sorted(value for value in temperatures if value is not None):
        cell = cell_name(loss, temperature)
        rows += _rows(runs, cell, f"{temperature:g}", known.get(temperature))
    return rows


def _rows(runs: RunSet, cell: str, label: str, accuracy: float | None) -> list[list[str]]:
    """Return a row for each kind of batch norm statistics; what is not there is said."""
    number = NOT_APPLICABLE if accuracy is None else f"{accuracy:.1f}"
    return [
        [
            label,
            number if kind == PUBLISHED_VIEW.statistics else NOT_APPLICABLE,
            name,
            *(_mean(runs, cell, View(kind, selection)) for selection in SELECTIONS),
            _optimism(runs, cell, kind),
            _count(runs, cell),
        ]
        for kind, name in STATISTICS.items()
    ]


def _mean(runs: RunSet, cell: str, view: View) -> str:
    values = list(runs.percents(cell, view).values())
    if not runs.done(cell):
        states = {run.record.status for run in runs.of(cell)}
        return "failed" if "failed" in states else "unfinished" if states else "missing"
    if not values:
        return "not measured"
    interval = mean_interval(values)
    if len(values) == 1:
        return f"{interval.estimate:.1f}"
    return f"{interval.estimate:.1f} ± {interval.half_width:.1f}"


def _optimism(runs: RunSet, cell: str, kind: str) -> str:
    best, honest = (runs.percents(cell, View(kind, name)) for name in ("best_test", "best_val"))
    shared = best.keys() & honest.keys()
    return f"{fmean(best[s] - honest[s] for s in shared):.1f}" if shared else NOT_APPLICABLE


def _count(runs: RunSet, cell: str) -> str:
    """Return how many seeds of a cell are done, and of how many if not of all in the set."""
    done, expected = len(runs.done(cell)), len(runs.seeds)
    return str(done) if done == expected else f"{done}/{expected}"


def seeds_table(runs: RunSet) -> Table:
    """Return every run with its accuracies."""
    rows = []
    for cell in runs.cells:
        for run in runs.of(cell):
            values = [run.percent(view) for view in VIEWS]
            texts = ["not measured" if value is None else f"{value:.2f}" for value in values]
            if not run.done:
                texts = [_STATES.get(run.record.status, run.record.status)] * len(VIEWS)
            rows.append([cell, str(run.record.seed), *texts])
    header = ("cell", "seed", *(f"{SELECTIONS[s]}, {STATISTICS[k]}" for k, s in VIEWS))
    return Table("seeds", "Every run: test accuracy in %", "", header, rows)


def noise_table(runs: RunSet) -> Table:
    """Return how test accuracy swings over the late epochs, and what the best epoch gains."""
    rows = []
    for cell in runs.cells:
        noise = epoch_noise(runs.done(cell), PUBLISHED_VIEW.statistics)
        if noise is None:
            rows.append([cell, *["too few epochs"] * 4, NOT_APPLICABLE, NOT_APPLICABLE])
            continue
        gap = _published_gap(cell)
        explained = f"{100 * noise.gain / abs(gap):.0f} %" if gap else NOT_APPLICABLE
        numbers = (noise.deviation, noise.swing, noise.gain)
        rows.append(
            [
                cell,
                str(noise.epochs),
                *(f"{number:.2f}" for number in numbers),
                f"{gap:.1f}" if gap is not None else NOT_APPLICABLE,
                explained,
            ]
        )
    caption = (
        "In points, running statistics, the mean over runs. Late epochs: the last quarter. gain: "
        "the best of all epochs on the test set minus the mean of the late ones, which no method "
        "earned. gap: published, T = 15 minus this T (hard: this loss at T = 15 minus hard). "
        "A gain near or above 100 % of a gap can explain it alone."
    )
    header = ("cell", "late epochs", "deviation", "swing", "gain", "gap", "gain / gap")
    return Table(
        "noise", "Epoch noise: what choosing the best epoch picks up", caption, header, rows
    )


def _published_gap(cell: str) -> float | None:
    for loss, accuracies in published.DISTILLED.items():
        known = dict(zip(published.TEMPERATURES, accuracies, strict=True))
        for temperature, accuracy in known.items():
            if cell == cell_name(loss, temperature):
                if temperature == published.HARD_TEMPERATURE:
                    return accuracy - published.HARD_ACCURACY
                return known[published.HARD_TEMPERATURE] - accuracy
    return None


def sizes_table(sizes: Mapping[str, Sizes]) -> Table:
    """Return Table 1's sizes: what was published, and the three that we count."""
    known = {"teacher": published.TEACHER_CHECKPOINT, "student": published.HARD_CHECKPOINT}
    rows = []
    for model, printed in known.items():
        counted = sizes.get(model)
        numbers = (
            ["missing"] * 3
            if counted is None
            else [_kilobytes(n) for n in (counted.checkpoint, counted.float32, counted.deployed)]
        )
        rows.append([model, printed, *numbers])
    caption = (
        "The published 3.43M is the teacher with Adam's two moments, 1.13M the student's 32-bit "
        "weights alone: their ratio of 3 owes nothing to quantization. checkpoint: what training "
        "goes on from, the file; float32: trained numbers at 4 bytes; deployed: the student's "
        "packed file, and the teacher's float32 weights with batch norm folded into them."
    )
    header = ("model", "published", "checkpoint", "float32", "deployed")
    return Table("sizes", "Table 1: sizes", caption, header, rows)


def _kilobytes(count: int) -> str:
    return f"{count / 1000:,.1f} kB"


def claims_table(findings: Sequence[Finding], *, view: View) -> Table:
    """Return the claims with effect, p and verdict."""
    rows = [
        [
            statement(finding),
            finding.verdict or "no verdict",
            _number(finding.question.published),
            _effect(finding),
            _p(finding.p),
            _number(finding.detectable),
            str(finding.n) if finding.n else NOT_APPLICABLE,
        ]
        for finding in findings
    ]
    caption = (
        f"Accuracies: {SELECTIONS[view.selection]}, {STATISTICS[view.statistics]} batch norm "
        "statistics. effect: the comparison that decides, with 95 % interval, in points where no "
        "other unit is said. p: two-sided, Holm within a letter. detectable: the smallest "
        "difference that this many seeds find with 80 % probability."
    )
    header = ("claim", "verdict", "published", "effect", "p", "detectable", "seeds")
    return Table("claims", "Published claims", caption, header, rows, labels=2)


def tests_table(findings: Sequence[Finding]) -> Table:
    """Return how each claim was tested, and what else is known of it."""
    rows = []
    for finding in findings:
        images = finding.question.images
        rows.append(
            [
                statement(finding),
                finding.question.test,
                NOT_APPLICABLE if images is None else f"[{images.low:.2f}, {images.high:.2f}]",
                _p(finding.equivalence_p),
                _p(finding.question.check_p),
                finding.reason or NOT_APPLICABLE,
            ]
        )
    caption = (
        "images: 95 % interval of the effect over other seeds and other test images (two-way "
        "bootstrap). p equal: of an effect of at least 0.1 points in size (two one-sided tests); "
        "small means that it is practically nothing. p by seed: of a paired t test over the seeds' "
        "own contrasts, which pools no noise; far above the claim's p, it warns."
    )
    header = ("claim", "test", "images", "p equal", "p by seed", "note")
    return Table("tests", "How the claims were tested", caption, header, rows, labels=6)


def robustness_table(by_view: Mapping[View, Sequence[Finding]]) -> Table:
    """Return the verdicts under every kind of accuracy: what depends on the choice is fragile."""
    rows = [
        [statement(found[0]), *(one.verdict or "no verdict" for one in found)]
        for found in zip(*by_view.values(), strict=True)
        if found[0].question.unit == "points"
    ]
    header = ("claim", *(f"{SELECTIONS[s]}, {STATISTICS[k]}" for k, s in by_view))
    caption = "Verdicts if the claims were read from other accuracies than the one that counts."
    title = "Do verdicts depend on the accuracy?"
    return Table("robustness", title, caption, header, rows, labels=len(header))


def statement(finding: Finding) -> str:
    """Return a claim's letter and words."""
    return f"({finding.question.claim}) {finding.question.name}"


def _number(value: float | None) -> str:
    return NOT_APPLICABLE if value is None else f"{value:.2f}"


def _effect(finding: Finding) -> str:
    if finding.effect is None:
        return "not measured" if finding.question.claim in "gh" else "missing"
    estimate, low, high = finding.effect
    unit = "" if finding.question.unit == "points" else f" {finding.question.unit}"
    limits = f" [{low:.2f}, {high:.2f}]" if low < high < float("inf") else ""
    return f"{estimate:.2f}{limits}{unit}"


def _p(value: float | None) -> str:
    if value is None:
        return NOT_APPLICABLE
    return "<0.001" if value < 0.001 else f"{value:.3f}"
