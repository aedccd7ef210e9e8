"""Two runs of a sweep, and their records without a training."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.conftest import Plan, made_up

from bitstill import runs
from bitstill.runs import Row
from bitstill.runs.identity import portable_config
from bitstill.sweep.plan import PlannedRun

Write = Callable[..., None]
FINE, TOO_HIGH = "[0.01,0.001,0.0005]", "[1e36,1e36,1e36]"  # learning rates
ACCURACY: Row = {"epoch": 1, "val/accuracy": 0.5, "test/accuracy": 0.625}


@pytest.fixture
def planned(plan_runs: Plan) -> list[PlannedRun]:
    return plan_runs("loss=hard seed=0", "loss=hard seed=1")


@pytest.fixture
def write() -> Write:
    """Writes the record that training would have written."""

    def of(run: PlannedRun, status: runs.Status = "done", **changes: Any) -> None:
        paths = run.expected.paths
        paths.directory.mkdir(parents=True, exist_ok=True)
        chosen: dict[str, Row | None] = dict.fromkeys(("last", "best_val", "best_test"), ACCURACY)
        known: dict[str, Any] = {
            "status": status,
            "identity": run.expected.identity,
            "seed": run.config.seed,
            "config": portable_config(run.config),
            "seconds": 75.0,
            "selections": {"running": chosen, "precise": chosen},
            "sizes": {"float32": 1_173_672},
        }
        made_up(**known | changes).write(paths)

    return of
