"""Runs that change one setting, each against the same loss at T = 15 in the study."""

from collections.abc import Iterator, Sequence

from bitstill.report.claims import primary_view
from bitstill.report.far_out import far_out, said_of
from bitstill.report.published import HARD_TEMPERATURE
from bitstill.report.settings import rules, settings, teacher_settings
from bitstill.report.sweeps import Run, RunSet
from bitstill.report.table import NOT_APPLICABLE, Table, plus_minus, signed
from bitstill.runs import RunRecord
from bitstill.runs.identity import cell_name, temperature_name
from bitstill.statistics import paired_difference


def variants_table(study: RunSet, others: Sequence[RunSet], *, title: str) -> Table:
    """Return the effect of each changed setting on each loss, over common seeds.

    Args:
        study: the set with the unchanged cells.
        others: sets of changed runs.
        title: that of the table.
    """
    view = primary_view(study)
    found: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
    shown: dict[str, Run] = {}
    for run in _students(others):
        loss, seed = run.record.loss, run.record.seed
        bases = study.done(cell_name(loss, HARD_TEMPERATURE))
        for base in (one for one in bases if one.record.seed == seed):
            ours, theirs = run.percent(view), base.percent(view)
            if ours is not None and theirs is not None:
                change = _change(run.record, base.record)
                found.setdefault((change, loss), {})[seed] = (ours, theirs)
                shown |= {one.record.identity: one for one in (base, run)}
    losses = study.losses
    order = sorted(found, key=lambda one: (one[0], losses.index(one[1])))
    rows = [[*labels, *_numbers(list(found[labels].values()))] for labels in order]
    lost = [run for one in (study, *others) for run in far_out(one, view)]
    named = said_of([run for run in shown.values() if run in lost], view)
    caption = (
        f"Test accuracy in %: {view.label} batch norm statistics; mean over seeds ± 95 % t "
        "interval. study: the same loss at T = 15 in the study, the same seeds. difference: "
        "changed minus study, paired by seed, with 95 % t interval, in points. Nothing was "
        "published on these, so there are no verdicts; the intervals are not corrected for "
        "multiple comparisons."
    )
    caption = f"{caption} {named}".rstrip()
    header = ("changed", "loss", "changed accuracy", "study", "difference", "seeds")
    return Table("open", title, caption, header, rows, labels=2)


def _students(sets: Sequence[RunSet]) -> Iterator[Run]:
    """Yield the finished students, each once: those without c are in several sets."""
    runs = [run for one in sets for run in one.students if run.done]
    yield from {run.record.identity: run for run in runs}.values()


def _numbers(pairs: Sequence[tuple[float, float]]) -> list[str]:
    ours, theirs = zip(*pairs, strict=True)
    difference = signed(paired_difference(ours, theirs))
    return [plus_minus(ours), plus_minus(theirs), difference, str(len(pairs))]


def _change(ours: RunRecord, theirs: RunRecord) -> str:
    """Return the settings in which a run differs from the study's with its loss and seed."""
    parts = []
    if ours.temperature != theirs.temperature:
        parts.append(f"T = {temperature_name(ours.temperature)}")
    now, before = (settings(one) | teacher_settings(one) for one in (ours, theirs))
    changed = {key: value for key, value in now.items() if before.get(key) != value}
    rules_before = rules(theirs)
    changed |= {
        key: one
        for key, (one, *_) in rules(ours).items()
        if rules_before.get(key, [None])[0] != one
    }
    weight = changed.pop("soft_weight", None)
    parts += [f"{key} = {value}" for key, value in changed.items()]
    return ", ".join([*parts, *([f"c {weight}"] if weight else [])]) or NOT_APPLICABLE
