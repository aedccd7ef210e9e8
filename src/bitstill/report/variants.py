"""Runs that change one thing, each against the same loss at T = 15 in the study."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from bitstill.report.claims import primary_view
from bitstill.report.published import HARD_TEMPERATURE
from bitstill.report.sweeps import INSIDE, LOSSES, TEACHER, Run, RunSet, cell_name, soft_weight_rule
from bitstill.report.table import NOT_APPLICABLE, Table, plus_minus
from bitstill.runs import RunRecord
from bitstill.statistics import paired_difference


def variants_table(study: RunSet, others: Sequence[RunSet], *, title: str) -> Table:
    """Return what each change does to each loss, over the seeds that both have.

    Args:
        study: has the unchanged cells.
        others: sets of changed runs.
        title: of the table.
    """
    view = primary_view(study)
    found: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
    for run in _students(others):
        base = cell_name(run.record.loss, HARD_TEMPERATURE)
        ours, theirs = run.percent(view), study.percents(base, view).get(run.record.seed)
        if ours is not None and theirs is not None:
            change = _change(run.record, study.done(base)[0].record)
            found.setdefault((change, run.record.loss), {})[run.record.seed] = (ours, theirs)
    order = sorted(found, key=lambda one: (one[0], LOSSES.index(one[1])))
    rows = [[*labels, *_numbers(list(found[labels].values()))] for labels in order]
    caption = (
        f"Test accuracy in %: {view.label} batch norm statistics; mean over seeds ± 95 % t "
        "interval. study: the same loss at T = 15 in the study, the same seeds. difference: "
        "changed minus study, paired by seed, with 95 % t interval, in points. Nothing was "
        "published on these, so there are no verdicts; the intervals are not corrected for their "
        "number."
    )
    header = ("changed", "loss", "changed accuracy", "study", "difference", "seeds")
    return Table("open", title, caption, header, rows, labels=2)


def _students(sets: Sequence[RunSet]) -> Iterator[Run]:
    """Return finished students, each once: those without a factor c are in several sets."""
    runs = [run for one in sets for run in one.runs if run.done and run.record.model != TEACHER]
    yield from {run.record.identity: run for run in runs}.values()


def _numbers(pairs: Sequence[tuple[float, float]]) -> list[str]:
    ours, theirs = zip(*pairs, strict=True)
    estimate, low, high = paired_difference(ours, theirs).interval()
    limits = f" [{low:+.2f}, {high:+.2f}]" if len(pairs) > 1 else ""
    return [plus_minus(ours), plus_minus(theirs), f"{estimate:+.2f}{limits}", str(len(pairs))]


def _change(ours: RunRecord, theirs: RunRecord) -> str:
    """Say which settings of a run differ from the study's."""
    parts = []
    if ours.temperature != theirs.temperature:
        parts.append(f"T = {ours.temperature:g}")
    before = dict(_leaves(theirs.config))
    parts += [
        f"{name} = {'null' if value is None else value}"
        for name, value in _leaves(ours.config)
        if value != before.get(name)
    ]
    rule = soft_weight_rule(ours)
    if rule is not None and rule != soft_weight_rule(theirs):
        parts.append(_words(rule))
    return ", ".join(parts) or NOT_APPLICABLE


def _leaves(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        if not prefix and key in INSIDE:
            continue
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _words(rule: str) -> str:
    """Return a rule for the factor c in words: "c constant, value 1"."""
    settings = json.loads(rule)
    name = settings.pop("_target_").rpartition(".")[2].removesuffix("_weight")
    settings.pop("_partial_", None)
    numbers = [
        f"{key} {value:g}" if isinstance(value, float | int) else f"{key} {value}"
        for key, value in settings.items()
    ]
    return f"c {', '.join([name, *numbers])}"
