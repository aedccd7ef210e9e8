"""A process that may have no more memory: one line, a run that has failed, and the others go on."""

from typing import Any

import pytest
from tests.faults.conftest import Place

from bitstill.runs import RunPaths, load_sweep, read_record

pytestmark = pytest.mark.slow

# From the moment when some file is written, the process may grow by little: more than what the
# sweep's own threads take now and then, and far less than a run of the larger batches needs.
LIMIT = """
import os, resource, sys

limited = []

def limit(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(os.environ["AT"]) and not limited:
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize() + 3 * 2**24
        limited.append(size)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

sys.addaudithook(limit)
"""
FEW, MANY = 16, 180
# Two bits, which torch computes: its steps on large batches need far more than those in C.
SHORT = ("loss=hard", "schedule.epochs=1", "quantizer.activation_bits=2")


def test_a_run_that_has_no_memory(place: Place) -> None:
    code, _, err = place.run(
        *SHORT, f"schedule.batch_size={MANY}", env=place.hooked(LIMIT, AT="run.json")
    )
    assert code == 2, err
    assert "Traceback" not in err
    [line] = [line for line in err.splitlines() if line.startswith("bitstill: ")]
    assert line.startswith("bitstill: out of memory (")
    assert "smaller schedule.batch_size" in line
    record = read_record(RunPaths(place.directory("hard")))
    assert record is not None
    assert record.status == "failed"


def test_a_sweep_of_which_some_runs_have_no_memory(place: Place) -> None:
    sweep = ("-m", "seed=0,1", f"schedule.batch_size={FEW},{MANY}", *SHORT)
    # One arena: each further one that glibc makes for a thread takes more addresses than are left.
    limited: dict[str, Any] = {
        "env": place.hooked(LIMIT, AT="student.bitstill", MALLOC_ARENA_MAX="1")
    }
    code, _, err = place.run(*sweep, **limited)
    assert code == 1, err
    assert "Traceback" not in err
    assert "bitstill: 2 of 4 runs are not done:" in err
    sizes = {
        record.status: record.config["schedule"]["batch_size"]
        for record in load_sweep(place.folder / "mine")
    }
    assert sizes == {"done": FEW, "failed": MANY}

    code, _, err = place.run(*sweep)
    assert code == 0, err
    assert "4 runs: 2 skipped, 2 to do" in err
