"""One line for each set: how many runs are finished, and which verdicts there are."""

from collections.abc import Sequence
from typing import get_args

from bitstill.errors import counted
from bitstill.report.claim_tables import NO_VERDICT, WAITING, count_verdicts, verdict_counts
from bitstill.report.content import SetReport
from bitstill.report.table import Table
from bitstill.statistics import Verdict


def summary(one: SetReport) -> str:
    """Return the line of a set as sentences."""
    seeds = len(one.runs.seeds)
    text = f"{one.finished} runs finished, {counted(seeds, 'seed')}."
    if seeds < 2:
        return f"{text} One seed describes and proves nothing: there are no verdicts."
    return f"{text} {count_verdicts(one.main_findings)}"


def overview_table(sets: Sequence[SetReport]) -> Table:
    """Return one row per set."""
    columns = (*get_args(Verdict), NO_VERDICT, WAITING)
    rows = []
    for one in sets:
        counts = verdict_counts(one.main_findings)
        verdicts = [str(counts[column]) for column in columns]
        rows.append([one.runs.name, one.finished, str(len(one.runs.seeds)), *verdicts])
    caption = (
        "runs: finished, of all that were asked for and the teachers that they read. Then how many "
        "statements of the claims have each verdict; with one seed there are none, since one seed "
        "proves nothing."
    )
    return Table("sets", "Sets of runs", caption, ("set", "runs", "seeds", *columns), rows)
