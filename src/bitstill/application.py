"""``bitstill train``: the Hydra application, and its errors in one line."""

import errno
import logging
import os
import select
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bitstill.choices import listed_at_once
from bitstill.conf import choices, conf_directory, our_hydra
from bitstill.errors import SweepFailedError, UserError, nearest, printable
from bitstill.flags import flags_first
from bitstill.guard import guarded
from bitstill.refusals import explain_library, with_next_step

if TYPE_CHECKING:
    from bitstill.runs import RunRecord
    from bitstill.schema import TrainConfig

log = logging.getLogger(__name__)

# In a worker, once it was interrupted: its queue may hold further runs of the sweep.
_interrupted = threading.Event()

FULL_ERROR = "HYDRA_FULL_ERROR"
INTERRUPTED = 130  # what a shell reports of Ctrl-C


# What checks a run is imported where it is used: `--help` and `--cfg job` then need half the time.


def _run_directory(*, _root_: DictConfig) -> str:
    from bitstill.config import check
    from bitstill.identity import directory_name, identity

    config = check(_root_)
    return directory_name(config, identity(config, config.data.identity()))


def _square(value: object) -> object:
    """Square a number; anything else is left for the check of the setting that it came from."""
    return value * value if isinstance(value, int | float) else value


def register_resolvers() -> None:
    """Make ``${square:x}`` and ``${run_directory:}`` known to OmegaConf, in this process."""
    OmegaConf.register_new_resolver("square", _square, replace=True)
    OmegaConf.register_new_resolver("run_directory", _run_directory, replace=True)


# Here, not in a function: a worker process imports this module to find `job`.
register_resolvers()


def job(composed: DictConfig) -> None:
    """Do one run: Hydra's task function, for a run alone and in a sweep."""
    from bitstill.config import check

    context = HydraConfig.get()
    directory = Path(context.runtime.output_dir)
    if context.mode == RunMode.RUN:
        is_swept = any(OmegaConf.select(context.sweeper, one) for one in ("params", "grids"))
        if is_swept and "hydra.mode=RUN" not in sys.argv:
            log.warning("one run of a sweep that the configuration describes: -m runs all of them")
        try:
            _train(check(composed), directory, progress=sys.stderr.isatty())
        except Exception as error:  # as it is, Hydra would print a line of its own before ours
            raise SystemExit from error
    else:
        _train_in_sweep(check(composed), directory)


def _train_in_sweep(config: "TrainConfig", directory: Path) -> None:
    from bitstill.sweep import is_stopped, stop_at_failure

    for handler in logging.getLogger().handlers:  # the sweep shows progress; a job logs to its file
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL)
    if _interrupted.is_set():
        raise KeyboardInterrupt
    if is_stopped(config, directory.parent):
        log.info("not started: another run has failed, and sweep.on_failure=stop")
        return
    try:
        _train(config, directory, progress=False)
    except KeyboardInterrupt:
        _interrupted.set()
        raise
    except Exception:
        log.exception("failed")
        stop_at_failure(config, directory.parent)
        raise


def _train(config: "TrainConfig", directory: Path, *, progress: bool) -> None:
    record = _record(config, directory, progress=progress)
    last = record.selections[record.deciding]["last"]
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
    from bitstill.train import run

    return run(config, directory, progress=progress)


def compose(*overrides: str) -> "TrainConfig":
    """Return the run that ``bitstill train`` would do, checked: for scripts and notebooks.

    Args:
        overrides: as on the command line, ``loss=soft_hard``.

    Raises:
        UserError: a setting is not allowed.
        HydraException: an override is no setting or no choice, or cannot be read.
    """
    from bitstill.config import check

    with guarded(), our_hydra():
        composed = hydra.compose("train", list(overrides))
    return check(composed)


def train(arguments: list[str]) -> int:
    """Run the Hydra application with command-line arguments; return the exit code."""
    detailed = os.environ.get(FULL_ERROR) == "1"
    os.environ[FULL_ERROR] = "1"  # let Hydra raise its errors, to be explained here
    application = hydra.main(
        version_base="1.3", config_path=str(conf_directory()), config_name="train"
    )(job)
    terminate = signal.signal(signal.SIGTERM, _interrupt)
    _interrupted.clear()
    try:
        sys.argv = ["bitstill train", *flags_first(arguments)]
        with guarded(), listed_at_once():
            application()
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from there")
        return INTERRUPTED
    except (SystemExit, Exception) as stop:
        error = stop.__cause__ if isinstance(stop, SystemExit) else stop  # see `job`
        if not isinstance(error, Exception):
            raise
        if detailed:
            raise error from error.__cause__
        return report(error, arguments)
    finally:
        signal.signal(signal.SIGTERM, terminate)
        if not detailed:
            del os.environ[FULL_ERROR]
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    shown = "\n".join(printable(one) for one in line.splitlines())  # files may have any names
    print(f"bitstill: {shown}", file=sys.stderr)  # noqa: T201  # the command line's voice


def report(error: Exception, arguments: list[str] | None = None) -> int:
    """Print an error, in one line where the user can mend it; return the exit code."""
    if isinstance(error, BrokenPipeError) and _reader_has_left():
        return 1
    line = explain(error, arguments or [])
    if line is None:
        traceback.print_exception(error)
        return 1
    _say(line)
    return 1 if isinstance(error, SweepFailedError) else 2


def _reader_has_left() -> bool:
    """Whether nobody reads standard output any more (``| head``): nothing is said then."""
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    has_left = bool(pipe.poll(0))  # an error is the only news that it asks for
    if has_left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest, at exit
    return has_left


def explain(error: Exception, arguments: list[str]) -> str | None:
    """Return one line for an error that the user can mend, or None for a defect of ours."""
    for link in _chain(error):
        if isinstance(link, UserError | SweepFailedError):
            return str(link)
        # os.getcwd names no file.
        if isinstance(link, FileNotFoundError) and link.errno and link.filename is None:
            return "the folder that you are in is not there any more: cd to another"
        if isinstance(link, FileExistsError) and not Path(link.filename or ".").exists():
            return f"{link.filename} is a link to what is not there: mend that, or give another"
        if _is_unwritable(link):
            return f"{link}: mend that, and run the same command again"
    if isinstance(error, ValueError) and "Config group override must be" in str(error):
        return _not_a_choice(arguments)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_hydra(error, arguments)
    return explain_library(_chain(error))


def _explain_hydra(error: Exception, arguments: list[str]) -> str:
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        hint = nearest(choice, error.options)
        return f"{group}={choice} is no choice: give one of {', '.join(error.options)}{hint}"
    if isinstance(error, OverrideParseException):
        reason = _unreadable(str(error.message))
        quoted = "'KEY=\"VALUE\"' where a value has ~ or the like"
        return f"{error.override!r} cannot be read ({reason}): give KEY=VALUE, or {quoted}"
    lines = str(error).splitlines()
    # What ends in a colon has its reason on the next line.
    first = with_next_step(" ".join(lines[: 1 + lines[0].endswith(":")]), error, arguments)
    if isinstance(error, ConfigCompositionException):
        return _unknown_setting(first)
    if "submitit_slurm" in first:
        return "hydra/launcher=slurm needs submitit: pip install 'bitstill[slurm]'"
    return first


def _unreadable(message: str) -> str:
    """Return the reason of Hydra's parser: which character, where it shows that with a caret."""
    first, *others = [one for one in message.splitlines() if not one.lstrip().startswith(_SEE)]
    second = others[0] if others else first
    column = second.find("^")
    if not second.strip(" ^") and column < len(first):
        return f"at {first[column]}"
    return second  # the first says again what was given


_SEE = ("See http", "(See http")


def _is_unwritable(error: BaseException) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    forbidden = (errno.EROFS, errno.EACCES, errno.EPERM)
    no_folder = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
    if not isinstance(error, OSError):
        return False
    # Under an automounter, or /proc, a folder cannot be made although the one above it is there.
    at_mkdir = [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1:] == ["mkdir"]
    return at_mkdir or error.errno in (*full, *forbidden, *no_folder)


def _chain(error: BaseException | None) -> list[BaseException]:
    links: list[BaseException] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links


def _not_a_choice(arguments: list[str]) -> str:
    """Explain ``temperature=20``, which Hydra reads as a number and not as a choice."""
    groups = choices()
    for argument in arguments:
        key, _, value = argument.lstrip("+~").partition("=")
        for choice in value.split(","):
            if key in groups and choice not in groups[key]:
                other = f", or {key}.value={choice}" if key == "temperature" else ""
                return f"{key}={choice} is no choice: give one of {', '.join(groups[key])}{other}"
    return "a choice must be a word: see bitstill train --help"


def _unknown_setting(first: str) -> str:
    """Explain a key that Hydra does not find in the composed configuration."""
    if not first.startswith("Could not override '"):
        return first
    from bitstill.config import settings

    key = first.split("'")[1]
    if key == "hydra.sweeper.plan_only":  # which plan has added
        return "hydra/sweeper is not allowed with plan: leave it out, the one that is there plans"
    if key.startswith("hydra.launcher."):
        return f"{key} is no setting of this launcher: give hydra/launcher=parallel or slurm, too"
    if key == "hydra.sweeper.params":
        return f"{key} is no setting yet: give +{key}=VALUE"
    if "@experiment." in key:
        return f"{first.rstrip('.')}: give an experiment's file '# @package _global_' as first line"
    if key in settings():
        group = key.partition(".")[0]
        return f"{key} is no setting of the {group} that is chosen: choose another, {group}=NAME"
    shown = "hydra" if key.startswith("hydra.") else "job"
    return f"{key} is no setting: see bitstill train --cfg {shown}" + nearest(key, settings())
