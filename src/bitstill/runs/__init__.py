"""The files, records and curves of runs, and the state of runs in progress.

It imports neither torch nor Lightning, so that a sweep of hundreds of runs can be planned and
looked at in a moment.
"""

from bitstill.runs.found import known_runs, load_sweep, no_sweep, runs_in
from bitstill.runs.paths import RunPaths
from bitstill.runs.record import (
    ENDED,
    DamagedRecordError,
    Row,
    RunRecord,
    Status,
    finished_record,
    known_record,
    read_record,
    record_to_go_on_from,
    refuse_another,
    refuse_foreign,
)
from bitstill.runs.store import STORE, in_store, teacher_stores

__all__ = [
    "ENDED",
    "STORE",
    "DamagedRecordError",
    "Row",
    "RunPaths",
    "RunRecord",
    "Status",
    "finished_record",
    "in_store",
    "known_record",
    "known_runs",
    "load_sweep",
    "no_sweep",
    "read_record",
    "record_to_go_on_from",
    "refuse_another",
    "refuse_foreign",
    "runs_in",
    "teacher_stores",
]
