"""Launches runs, and relaunches those that the death of a worker process has interrupted."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from bitstill.runs import ENDED
from bitstill.runs.status import RunState, look, mark_failed
from bitstill.sweep.plan import PlannedRun, is_stopped, stop_at_failure

Launch = Callable[[list[list[str]]], Sequence[Any]]

_DEATHS_ALLOWED = 3  # deaths of a run's process at which the run counts as failed
_UNATTRIBUTED = ""  # stands for an identity if no run was at work


def launch_all(left: Sequence[PlannedRun], launch: Launch) -> dict[str, Exception]:
    """Launch runs, and relaunch those interrupted by the death of a worker process.

    Nobody knows whose process died. So a death counts against each run that was at work; the count
    starts again if the run has finished an epoch since the death before. A run that would fail at
    the next death is launched alone.

    Returns:
        The exceptions that jobs raised, or that report the deaths, by the identity of the run.
    """
    deaths: Counter[str] = Counter()
    before = {run.expected.identity: look(run.expected) for run in left}
    latest = dict(before)
    raised: dict[str, Exception] = {}
    while left and not is_stopped(left[0].config):
        suspects = [one for one in left if deaths[one.expected.identity] == _DEATHS_ALLOWED - 1]
        batch = suspects[:1] or left
        try:
            raised |= _raised(batch, launch([list(one.overrides) for one in batch]))
            left = [run for run in left if run not in batch]
        except BrokenProcessPool as error:
            _count_deaths(deaths, batch, latest)
            left = [run for run in left if _is_left(run, before)]
            died = [one for one in left if deaths[one.expected.identity] >= _DEATHS_ALLOWED]
            lost = left if deaths[_UNATTRIBUTED] >= _DEATHS_ALLOWED else died
            raised |= {run.expected.identity: error for run in lost}
            left = [run for run in left if run not in lost]
    return raised


def _count_deaths(
    deaths: Counter[str], batch: Sequence[PlannedRun], latest: dict[str, RunState]
) -> None:
    """Count a death for each run that may have caused it; give up runs with too many."""
    known = False
    for run in batch:
        one = run.expected.identity
        state, earlier = look(run.expected), latest[one]
        latest[one] = state
        ended = state.status in ENDED
        if ended and state != earlier:
            known = True  # its process may have died after it ended
        elif len(batch) == 1 or (state.status == "interrupted" and state != earlier):
            known = True
            deaths[one] = 1 if state.epoch > earlier.epoch else deaths[one] + 1
            if deaths[one] >= _DEATHS_ALLOWED and not ended:
                mark_failed(state, f"its process was killed {_DEATHS_ALLOWED} times")
                stop_at_failure(run.config)
    if not known:  # a process died before it began a run; nobody knows which
        deaths[_UNATTRIBUTED] += 1


def _raised(batch: Sequence[PlannedRun], returns: Sequence[Any]) -> dict[str, Exception]:
    """Return the errors that jobs raised; a detached sweep returns none."""
    pairs = zip(batch, returns, strict=False)
    values = {run.expected.identity: getattr(one, "_return_value", None) for run, one in pairs}
    return {identity: one for identity, one in values.items() if isinstance(one, Exception)}


def _is_left(run: PlannedRun, before: Mapping[str, RunState]) -> bool:
    """Whether a run still has to be trained."""
    now = look(run.expected)
    return now.status not in ENDED or now == before[run.expected.identity]
