"""Commands that make numbers again."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from bitstill.reading import reading
from bitstill.report.sweeps import Run


def report_command(folders: Sequence[Path]) -> str:
    """Return the command that makes a report."""
    return shlex.join(["bitstill", "report", *(str(folder) for folder in folders)])


def run_command(run: Run) -> str:
    """Return the command that does a run again, from the arguments that made it."""
    from omegaconf import OmegaConf

    if not run.paths.overrides.exists():
        return "its arguments were not kept"
    with reading(run.paths.overrides, "move it away"):
        overrides = [str(one) for one in OmegaConf.load(run.paths.overrides)]
    # An experiment is a sweep; one of its runs is asked for.
    alone = ["hydra.mode=RUN"] if any("experiment=" in one for one in overrides) else []
    return shlex.join(["bitstill", "train", *overrides, *alone])
