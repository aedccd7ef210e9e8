"""Who holds a lock and is lost: the others go on, what is done is not done again."""

import signal
from typing import Any

import pytest
from tests.faults.test_kill import logs, wait_for

pytestmark = pytest.mark.slow

# Every write takes its time, as on a network's disk under load.
SLOW = """
import os, time

def slow(function):
    def later(*arguments, **options):
        time.sleep(0.15)
        return function(*arguments, **options)
    return later

os.fsync, os.replace = slow(os.fsync), slow(os.replace)
"""

WAITING, FIRST = "waiting for another process that works on", ": epoch 1 of 6: "


def end_well(*processes: Any) -> None:
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "Traceback" not in err


@pytest.mark.parametrize("fate", ["killed", "woken and killed", "woken"])
def test_a_run_whose_holder_is_stopped_is_waited_for_and_taken_over(
    place: Any, undisturbed: Any, fate: str
) -> None:
    holder = place.start("loss=hard")
    wait_for(lambda: FIRST in logs(place), holder)
    holder.send_signal(signal.SIGSTOP)
    other = place.start("loss=hard")
    wait_for(lambda: WAITING in logs(place), other)
    if "woken" in fate:
        holder.send_signal(signal.SIGCONT)
    if "killed" in fate:
        place.kill(holder)
        end_well(other)
    else:
        end_well(holder, other)
    [(name, weights)] = place.results().weights.items()
    assert weights == undisturbed.weights[name]
    assert place.results().metrics[name] == undisturbed.metrics[name]
    assert logs(place).count(FIRST) == 1, "what was done is not done again"


@pytest.mark.parametrize("slow", [False, True], ids=["quick disk", "slow disk"])
def test_a_teacher_whose_holder_is_lost_is_taken_over(
    place: Any, undisturbed: Any, slow: bool
) -> None:
    """By one of two others that wait for it; then the sweep of the lost one goes on."""
    first = SLOW if slow else ""
    holder = place.start("loss=soft_hard", first=first)
    wait_for(lambda: FIRST in logs(place), holder)  # of its teacher
    holder.send_signal(signal.SIGSTOP)
    others = [place.start("loss=soft_hard", f"name={name}", first=first) for name in ("one", "two")]
    wait_for(lambda: logs(place).count(WAITING) == 2, others[0])
    place.kill(holder)
    end_well(*others, place.start("loss=soft_hard", first=first))
    results = place.results()
    assert results.weights.items() <= with_copies(undisturbed.weights).items()
    assert results.metrics.items() <= with_copies(undisturbed.metrics).items()
    assert len(results.weights) == 4, "a teacher and three students"
    assert logs(place).count(FIRST) == 4
    assert not list(place.folder.glob("*/*/.*.*")), "half a file is left"


def with_copies(files: dict[str, bytes]) -> dict[str, bytes]:
    """Add what the same runs come to under other names of the sweep."""
    copies = {
        f"{name}/{key.removeprefix('mine/')}": content
        for key, content in files.items()
        for name in ("one", "two")
    }
    return files | copies
