"""``bitstill train``: the Hydra application."""

import logging
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bitstill.configuration.flags import flags_first
from bitstill.configuration.guard import guarded
from bitstill.configuration.shipped import conf_directory, our_hydra
from bitstill.errors import StoppedError, UserError
from bitstill.explanations import FULL_ERROR, explain, print_error, say
from bitstill.training.memory import imported_to_stay

if TYPE_CHECKING:
    from bitstill.runs import RunRecord
    from bitstill.schema import TrainConfig

log = logging.getLogger(__name__)

# Set in a worker that was interrupted, since its queue may hold further runs of the sweep.
_interrupted = threading.Event()
_composing = threading.Lock()

INTERRUPTED = 130  # the exit code that a shell reports after Ctrl-C
# A sweep starts processes with `python -m`. Without this, they would import a file of the current
# folder, random.py for instance, in place of the module of that name.
_SAFE_PATH = "PYTHONSAFEPATH"


# The modules that check a run are imported where they are used: this halves the time of `--help`
# and `--cfg job`.


def _run_directory(*, _root_: DictConfig) -> str:
    from bitstill.configuration.check import check
    from bitstill.runs.identity import directory_name, identity

    config = check(_root_)
    return directory_name(config, identity(config, config.data.identity()))


def _square(value: object) -> object:
    """Square a number; anything else is returned for the check of the setting it came from."""
    return value * value if isinstance(value, int | float) else value


def register_resolvers() -> None:
    """Register ``${square:x}`` and ``${run_directory:}`` with OmegaConf in this process."""
    OmegaConf.register_new_resolver("square", _square, replace=True)
    OmegaConf.register_new_resolver("run_directory", _run_directory, replace=True)


# At module level, since a worker process imports this module to find `job`.
register_resolvers()


class FolderCheck(Callback):
    """Refuses a ``hydra.run.dir`` that is not a valid folder, or holds other files.

    It does so before Hydra writes its copy of the configuration there.
    """

    def on_run_start(self, config: DictConfig, **options: object) -> None:
        """Exit to :func:`train`: Hydra would turn an error into a warning."""
        from bitstill.configuration.check import check, check_printable
        from bitstill.runs import (
            DamagedRecordError,
            RunPaths,
            read_record,
            refuse_another,
            refuse_foreign,
        )
        from bitstill.runs.identity import identity

        try:
            folder = config.hydra.run.dir
            check_printable("hydra.run.dir", folder)
            paths = RunPaths(Path(folder))
            refuse_foreign(paths)
            # If it is not a folder, Hydra fails to create it, and that error is explained.
            if paths.directory.is_dir() and (found := read_record(paths)) is not None:
                checked = check(config)
                refuse_another(paths, found, identity(checked, checked.data.identity()))
        except DamagedRecordError:
            pass  # the run moves it aside
        except Exception as error:
            raise SystemExit from error


def job(composed: DictConfig) -> None:
    """Do one run: Hydra's task function, for single runs and sweeps."""
    from bitstill.configuration.check import check
    from bitstill.loggers.sync import say_what_is_not_sent

    context = HydraConfig.get()
    directory = Path(context.runtime.output_dir)
    if context.mode == RunMode.RUN:
        is_swept = any(OmegaConf.select(context.sweeper, one) for one in ("params", "grids"))
        if is_swept and "hydra.mode=RUN" not in sys.argv:
            log.warning("one run of a sweep that the configuration describes: -m runs all of them")
        try:
            config = check(composed)
            _refuse_what_launches_sweeps(config, context.overrides.hydra)
            _train(config, directory, progress=sys.stderr.isatty())
            say_what_is_not_sent(config, directory.parent)
        except Exception as error:  # or Hydra would print a line of its own before ours
            raise SystemExit from error
    else:
        _train_in_sweep(check(composed), directory)


def _refuse_what_launches_sweeps(config: "TrainConfig", overrides: Iterable[str]) -> None:
    """Refuse a launcher for sweeps in a single run, which would run here, not on a cluster."""
    if config.sweep.detach:
        raise UserError("sweep.detach = true is not allowed for one run: give -m, too")
    for one in overrides:
        if one.startswith("hydra/launcher=") and one != "hydra/launcher=basic":
            raise UserError(f"{one} launches sweeps: give -m, too")


def _train_in_sweep(config: "TrainConfig", directory: Path) -> None:
    from bitstill.sweep.plan import is_stopped, stop_at_failure

    for handler in logging.getLogger().handlers:  # the sweep shows progress; a job logs to its file
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL)
    if _interrupted.is_set():
        raise KeyboardInterrupt
    _log_slurm_job()
    if is_stopped(config):
        log.info("not started: another run has failed, and sweep.on_failure=stop")
        return
    try:
        _train(config, directory, progress=False)
    except KeyboardInterrupt:
        _interrupted.set()
        raise
    except StoppedError as error:
        log.warning("%s", error)
        raise
    except Exception:
        log.exception("failed")
        stop_at_failure(config)
        raise


def _log_slurm_job() -> None:
    """Write the Slurm job and its node into the run's log."""
    if job_id := os.environ.get("SLURM_JOB_ID"):
        array, task = (os.environ.get(f"SLURM_ARRAY_{one}") for one in ("JOB_ID", "TASK_ID"))
        log.info("Slurm job %s on %s", f"{array}_{task}" if array else job_id, platform.node())


def _train(config: "TrainConfig", directory: Path, *, progress: bool) -> None:
    record = _record(config, directory, progress=progress)
    last = record.chosen("last")
    assert last is not None  # noqa: S101  # only best_val may be
    log.info(
        "%s: test accuracy %.2f %%, in %s", record.cell, 100 * last["test/accuracy"], directory
    )


def _record(config: "TrainConfig", directory: Path, *, progress: bool) -> "RunRecord":
    from bitstill.loggers.logged import not_logged
    from bitstill.runs import RunPaths, finished_record

    found = finished_record(config, RunPaths(directory))
    if found is not None and not not_logged(config.logger, RunPaths(directory)):
        return found  # known in a moment, without torch
    _import_training()
    from bitstill.train import run

    return run(config, directory, progress=progress)


@cache
def _import_training() -> None:
    """Import what trains, once and before any run, whose leftovers would stay in memory, too."""
    with imported_to_stay():
        import bitstill.train  # noqa: F401


def compose(*overrides: str) -> "TrainConfig":
    """Return the checked configuration of one run, for scripts and notebooks.

    Args:
        overrides: as on the command line, ``loss=soft_hard``.

    Raises:
        UserError: an override cannot be read, is not a setting or not a choice, or is not allowed.
    """
    from bitstill.configuration.check import check

    if not all(isinstance(one, str) for one in overrides):
        raise UserError(
            f"compose{overrides} is not allowed: give texts, compose('loss=soft', 'seed=1')"
        )
    try:
        # Hydra is a global of the process: two threads would disturb each other.
        with _composing, guarded(), our_hydra():
            composed = hydra.compose("train", list(overrides))
        register_resolvers()  # other code may have cleared or replaced them
        return check(composed)
    except UserError:
        raise
    except Exception as error:
        line = explain(error, overrides)
        if line is None:
            raise
        raise UserError(line) from error


def train(arguments: list[str]) -> int:
    """Run the Hydra application with command-line arguments; return the exit code."""
    detailed = os.environ.get(FULL_ERROR) == "1"
    os.environ[FULL_ERROR] = "1"  # let Hydra raise its errors, to be explained here
    was_safe = _SAFE_PATH in os.environ
    os.environ.setdefault(_SAFE_PATH, "1")
    application = hydra.main(
        version_base="1.3", config_path=str(conf_directory()), config_name="train"
    )(job)
    terminate = signal.signal(signal.SIGTERM, _interrupt)
    _interrupted.clear()
    try:
        sys.argv = ["bitstill train", *flags_first(arguments)]
        with guarded():
            application()
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from there")
        return INTERRUPTED
    except (SystemExit, Exception) as stop:
        error = stop.__cause__ if isinstance(stop, SystemExit) else stop  # see `job`
        if not isinstance(error, Exception):
            if isinstance(stop, SystemExit) and stop.code == 1:
                # Either Rich has exited, since the reader of a pipe has left; or Hydra has refused
                # --package, and has said so itself.
                return 1 if isinstance(stop.__context__, BrokenPipeError) else 2
            raise
        if detailed:
            raise error from error.__cause__
        return print_error(error, arguments)
    finally:
        signal.signal(signal.SIGTERM, terminate)
        if not detailed:
            del os.environ[FULL_ERROR]
        if not was_safe:
            del os.environ[_SAFE_PATH]
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
