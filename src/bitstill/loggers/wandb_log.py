"""wandb: one wandb run for each run, continued when the run is resumed."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bitstill.loggers.names import (
    BEST,
    EPOCH,
    accuracies,
    provenance,
    results,
    science,
    wandb_id,
)
from bitstill.loggers.outcome import Outcome
from bitstill.loggers.wandb_files import keep_wandb_quiet, written
from bitstill.loggers.wandb_run import begin, end
from bitstill.runs import Row, RunPaths, RunRecord
from bitstill.runs.curves import select, under
from bitstill.schema import STATISTICS, WandbConfig

_READ_SECONDS = 60


class WandbLog:
    """A run in wandb: group = sweep, job_type = loss, curves against the epoch.

    Args:
        settings: where wandb's runs go.
        folder: of the sweep.
        record: of the run, when it begins.
        name: of the run, for a person.
        group: the sweep's name: a teacher from the store may have been another's.
    """

    def __init__(
        self, settings: WandbConfig, folder: Path, record: RunRecord, name: str, *, group: str
    ) -> None:
        self._folder, self._artifacts = folder, settings.log_artifacts
        self._rows: Sequence[Row] = ()
        keep_wandb_quiet()
        run_id = wandb_id(record, group)
        before = written(folder, run_id)
        earlier = _logged_offline(before, settings)
        self._run = begin(
            settings,
            folder,
            run_id=run_id,
            name=name,
            group=group,
            job_type="teacher" if record.is_teacher else record.loss,
            config={**science(record), **provenance(record)},
        )
        # Steps are epochs, so the server knows which epoch of a resumed run is next.
        self._through = max(self._run.step - 1, earlier if self._run.offline else 0)
        if before or self._run.resumed:
            self._run.summary["error"] = ""  # it was of an earlier attempt
        self._run.define_metric(EPOCH, hidden=True)
        self._run.define_metric("*", step_metric=EPOCH)
        for name, best in BEST.items():
            self._run.define_metric(name, step_metric=EPOCH, summary=f"{best},last")

    def log_rows(self, rows: Sequence[Row]) -> None:
        """Log the curves, one step per epoch; see :class:`~bitstill.loggers.callback.RunLog`."""
        self._rows = rows
        for row in rows:
            epoch = int(row[EPOCH])
            if epoch > self._through:
                self._run.log({**row, EPOCH: epoch}, step=epoch, commit=True)
                self._through = epoch
        if rows:
            self._run.summary.update(accuracies(select(rows, _kinds(rows[-1]))))

    def log_outcome(self, record: RunRecord, outcome: Outcome) -> None:
        """Log the summary, pictures and, if asked for, artifacts."""
        import wandb

        # Not a wandb.Table: as an artifact, its manifest would send the local path to the server.
        shown = {
            name: wandb.Image(picture, caption=record.cell)
            for name, picture in outcome.pictures.items()
        }
        self._run.log(shown, step=record.epoch + 1, commit=True)
        self._run.summary.update({**results(record), **outcome.sizes, **self._bests()})
        if self._artifacts:
            self._keep(record, outcome.files)

    def _bests(self) -> dict[str, dict[str, float]]:
        """Return best and last over all epochs; wandb's own cover only this process."""
        found = {}
        for name in self._rows[-1] if self._rows else ():
            best = BEST.get(name)
            if best is not None:
                values = [row[name] for row in self._rows]
                found[name] = {
                    best: max(values) if best == "max" else min(values),
                    "last": values[-1],
                }
        return found

    def _keep(self, record: RunRecord, files: Sequence[Path]) -> None:
        import wandb

        for file in files:
            kind = "run-record" if file == RunPaths(file.parent).record else "model"
            artifact = wandb.Artifact(
                f"{kind}-{record.identity[:10]}",
                type=kind,
                metadata={**science(record), **results(record)},
            )
            # The server is told this path, so it is the one that the user gave. Not copied, since a
            # finished run's files do not change.
            path = file if self._folder.is_absolute() else os.path.relpath(file)
            artifact.add_file(str(path), policy="immutable")
            self._run.log_artifact(artifact)

    def close(self, exit_code: int, error: str) -> None:
        """End wandb's run, with the error that ended the run, if any."""
        if error:
            self._run.summary["error"] = error
        end(self._run, self._folder, exit_code)


def _kinds(row: Row) -> list[str]:
    """Return the kinds of batch norm statistics in an epoch's measurements."""
    return [kind for kind in STATISTICS if under("test/accuracy", kind) in row]


def _logged_offline(files: Sequence[Path], settings: WandbConfig) -> int:
    """Return the last epoch that earlier processes have logged for the same project.

    Their files, in a sweep's folder, are read by wandb itself; what it cannot read was not logged.
    """
    last = 0
    for file in files:
        # Without -P, a wandb.py in the current folder would be run.
        command = [sys.executable, "-P", "-m", "wandb", "leet", "inspect", "--summary", "--json"]
        done = subprocess.run(  # noqa: S603
            [*command, str(file)], capture_output=True, check=False, timeout=_READ_SECONDS
        )
        try:
            found = json.loads(done.stdout)
            # None is the default entity of the API key.
            others = {found["entity"], settings.entity} - {"", None}
            if found["project"] == settings.project and len(others) < 2:
                last = max(last, int(found["summary"][EPOCH]))
        except (ValueError, KeyError, TypeError):
            continue
    return last
