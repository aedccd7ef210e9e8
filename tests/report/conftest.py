"""Made-up sweeps: real records, curves and per-image results, without a training."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitstill.report.published import TEMPERATURES
from bitstill.report.sets import run_sets
from bitstill.report.sweeps import VIEWS, Run, RunSet, read_sweep
from bitstill.runs import Row, RunPaths, RunRecord
from bitstill.runs.curves import select, write_curves

TEST_IMAGES = 1000
CELLS = (
    ("teacher", None),
    ("hard", 15.0),
    *itertools.product(("soft", "soft_hard", "gt_soft_hard"), TEMPERATURES),
)
Percent = Callable[[str, float | None, int], float]


def _record(loss: str, temperature: float | None, seed: int, **changes: Any) -> RunRecord:
    what = repr((loss, temperature, seed, changes))  # with accuracies: other ones are another run's
    schedule = {"epochs": 8, "batch_size": 32}
    square = (temperature or 1) ** 2
    return RunRecord(
        status=changes.pop("status", "done"),
        identity=hashlib.sha256(what.encode()).hexdigest(),
        model="teacher" if loss == "teacher" else "student",
        loss="hard" if loss == "teacher" else loss,
        temperature=temperature,
        seed=seed,
        epoch=8,
        epochs=8,
        config={
            "name": changes.pop("name", "made"),
            "seed": seed,
            "data": {"source": "digits"},
            "loss": {"_target_": f"bitstill.losses.{loss}"},
            "quantizer": {"method": "mean_scaled", "weight_bits": 2},
            "batch_norm": {"momentum": 0.01, "epsilon": 0.001},
            "soft_weight": {"_target_": "bitstill.losses.constant_weight", "value": square},
            "schedule": changes.pop("schedule", schedule),
            "teacher": {"seed": seed, "schedule": schedule},
            "evaluation": {"batch_norm": "both"},
            "trainer": {"accelerator": "cpu", "precision": "float32", "threads": None},
        },
        data_identity="d" * 64,
        images={"train": 4000, "val": 400, "test": TEST_IMAGES},
        teacher_identity="t" * 64 if loss in ("soft", "soft_hard") else None,
        seconds=3.0,
        versions={"python": "3.11.0"},
        device="CPU",
        **changes,
    )


def write_run(
    folder: Path,
    loss: str,
    temperature: float | None,
    seed: int,
    percent: float,
    *,
    val: bool = True,
    **changes: Any,
) -> RunPaths:
    """Write a run whose accuracy is the same in every view, but for a best test epoch 0.4 above."""
    paths = RunPaths(folder / f"{loss}-{temperature}-{seed}")
    paths.directory.mkdir(parents=True)
    rows = []
    for epoch in range(1, 9):
        test = (percent + (0.4 if epoch == 7 else 0.0)) / 100
        row = {"epoch": epoch, "train/loss": 1 / epoch, "train/accuracy": percent / 100}
        for suffix in ("", "_precise"):
            row[f"test/accuracy{suffix}"] = test
            if val:
                row[f"val/accuracy{suffix}"] = 0.9 if epoch == 8 else 0.8
        rows.append(row)
    selections = select(rows, ("running", "precise"))
    made = _record(loss, temperature, seed, selections=selections, **changes)
    made.write(paths)
    write_curves(paths, rows)
    order = np.random.default_rng(seed).permutation(TEST_IMAGES)
    bits = {}
    for view in VIEWS:
        chosen = selections[view.statistics][view.selection]
        if chosen is not None:
            right = order < round(chosen["test/accuracy"] * TEST_IMAGES)
            bits[str(view)] = np.packbits(right)
    np.savez(paths.correctness, **bits)  # type: ignore[arg-type]
    return paths


def write_sweep(
    folder: Path,
    percent: Percent,
    *,
    seeds: Iterable[int] = range(5),
    cells: Iterable[tuple[str, float | None]] = CELLS,
    **changes: Any,
) -> Path:
    for (loss, temperature), seed in itertools.product(cells, seeds):
        write_run(folder, loss, temperature, seed, percent(loss, temperature, seed), **changes)
    return folder


def shifted(loss: str, temperature: float | None, seed: int) -> float:
    """Accuracies whose differences over seeds show no noise."""
    return 88 + len(loss) / 10 + seed


def scattered(loss: str, temperature: float | None, seed: int) -> float:
    return 88 + len(loss) / 10 + (temperature or 1) / 100 + (seed * 37 % 11) / 10


def changed_run(run: Run, *, data: str | None = None, **config: Any) -> Run:
    """Return a run with other settings and the same accuracies."""
    record = dataclasses.replace(
        run.record,
        identity=f"{run.record.identity} {data} {config}",
        config=run.record.config | config,
        data_identity=data or run.record.data_identity,
    )
    return Run(run.paths, record)


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[..., RunSet]:
    """Return a function that writes a sweep and reads its only set back."""
    numbers = itertools.count()

    def make(percent: Percent, **changes: Any) -> RunSet:
        folder = write_sweep(tmp_path / f"sweep{next(numbers)}", percent, **changes)
        (found,) = run_sets(read_sweep(folder))
        return found

    return make


def replaced(runs: RunSet, percents: Mapping[tuple[str, int], float]) -> RunSet:
    """Return a set with other accuracies, in every view, and no files."""
    changed = []
    for run in runs.runs:
        value = percents[run.record.cell, run.record.seed] / 100
        selections: dict[str, dict[str, Row | None]] = {
            kind: {name: {"epoch": 8.0, "test/accuracy": value} for name in selection}
            for kind, selection in run.record.selections.items()
        }
        made = dataclasses.replace(run.record, selections=selections)
        changed.append(Run(RunPaths(Path("nowhere")), made))
    return dataclasses.replace(runs, runs=changed)
