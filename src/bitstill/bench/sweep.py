"""The speed of a sweep: ``bitstill bench sweep``.

It times the 14 runs of ``experiment=quick``, as many at a time as there are cores, against
``benchmarks/plain.py``, which trains the same 14 one after the other on all cores, with as many
images, epochs and updates. Everything counts: start-up, training, evaluation, files.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from joblib import cpu_count

from bitstill.bench.paired import Report, paired, versions
from bitstill.bench.plain import PACKAGES, YARDSTICK, plain_path
from bitstill.errors import UserError

OURS = "bitstill train -m experiment=quick"
_BATCH = 32
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def bench(*, rounds: int, epochs: int) -> Report:
    """Time whole sweeps, each in its own folder.

    Raises:
        UserError: the yardstick is missing, or a sweep failed.
    """
    plain = [sys.executable, str(plain_path()), f"--epochs={epochs}", f"--batch-size={_BATCH}"]
    ours = [
        *(sys.executable, "-P", "-m", "bitstill", "train", "-m", "experiment=quick"),
        *(f"schedule.epochs={epochs}", f"schedule.batch_size={_BATCH}"),
    ]
    subjects = {YARDSTICK: lambda: _seconds(plain), OURS: lambda: _seconds(ours)}
    settings = {"runs": 14, "epochs": epochs, "cores": cpu_count()}
    timings = paired(subjects, yardstick=YARDSTICK, rounds=rounds, settings=settings, warm_up=0)
    return Report("s a sweep", 1, rounds, timings, versions(PACKAGES))


def _seconds(command: Sequence[str]) -> float:
    # Both use as many threads as they do by default, whatever the shell has set.
    usual = {name: value for name, value in os.environ.items() if name not in _THREADS}
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, env=usual, capture_output=True, text=True, check=False
        )
        taken = time.perf_counter() - begun
    if done.returncode:
        raise UserError(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}")
    return taken
