"""Errors in one line, where the user can mend them."""

import errno
import os
import select
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException

from bitstill.conf import choices
from bitstill.errors import SweepFailedError, UserError, nearest, printable
from bitstill.refusals import explain_library, with_next_step

FULL_ERROR = "HYDRA_FULL_ERROR"  # 1 shows tracebacks


def say(line: str) -> None:
    """Print a line on standard error, in the name of the command."""
    shown = "\n".join(printable(one) for one in line.splitlines())  # files may have any names
    print(f"bitstill: {shown}", file=sys.stderr)  # noqa: T201  # the command line's voice


def print_error(error: Exception, arguments: Sequence[str] = ()) -> int:
    """Print an error, in one line where the user can mend it; return the exit code."""
    if isinstance(error, BrokenPipeError) and _reader_has_left():
        return 1
    line = explain(error, arguments)
    if line is None:
        traceback.print_exception(error)
        return 1
    say(line)
    return 1 if isinstance(error, SweepFailedError) else 2


def _reader_has_left() -> bool:
    """Whether nobody reads standard output any more (``| head``): nothing is said then."""
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    has_left = bool(pipe.poll(0))  # an error is the only news that it asks for
    if has_left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest, at exit
    return has_left


def explain(error: Exception, arguments: Sequence[str]) -> str | None:
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


def _explain_hydra(error: Exception, arguments: Sequence[str]) -> str:
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        hint = _value_of(group, choice) or nearest(choice, error.options)
        return f"{group}={choice} is no choice: give one of {', '.join(error.options)}{hint}"
    if isinstance(error, OverrideParseException):
        reason = _unreadable(str(error.message))
        quoted = "'KEY=\"VALUE\"' where a value has ~ or the like"
        return f"{error.override!r} cannot be read ({reason}): give KEY=VALUE, or {quoted}"
    lines = str(error).splitlines()
    # What ends in a colon has its reason on the next line.
    first = with_next_step(" ".join(lines[: 1 + lines[0].endswith(":")]), error, arguments)
    if isinstance(error, ConfigCompositionException):
        return _unknown_setting(first, arguments)
    if "submitit_slurm" in first:
        return "hydra/launcher=slurm needs submitit: pip install 'bitstill[slurm]'"
    return first


_SEE = ("See http", "(See http")


def _unreadable(message: str) -> str:
    """Return the reason of Hydra's parser: which character, where it shows that with a caret."""
    first, *others = [one for one in message.splitlines() if not one.lstrip().startswith(_SEE)]
    second = others[0] if others else first
    column = second.find("^")
    if not second.strip(" ^") and column < len(first):
        return f"at {first[column]}"
    return second  # the first says again what was given


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


def _not_a_choice(arguments: Sequence[str]) -> str:
    """Explain ``temperature=20``, which Hydra reads as a number and not as a choice."""
    groups = choices()
    for argument in arguments:
        key, _, value = argument.lstrip("+~").partition("=")
        for choice in value.split(","):
            if key in groups and choice not in groups[key]:
                known = ", ".join(groups[key])
                return f"{key}={choice} is no choice: give one of {known}{_value_of(key, choice)}"
    return "a choice must be a word: see bitstill train --help"


def _value_of(group: str, choice: str) -> str:
    """Return how a temperature is given that is no choice, ``20`` or ``T20``."""
    number = choice.lstrip("T")
    is_one = group == "temperature" and number.replace(".", "", 1).isdecimal()
    return f", or {group}.value={number}" if is_one else ""


def _unknown_setting(first: str, arguments: Sequence[str]) -> str:
    """Explain a key that Hydra does not find in the composed configuration."""
    if "@experiment." in first:
        return f"{first.rstrip('.')}: give an experiment's file '# @package _global_' as first line"
    if not first.startswith("Could not override '"):
        return first
    from bitstill.config import settings

    key = first.split("'")[1]
    if key == "hydra.sweeper.plan_only":  # which plan has added
        return "hydra/sweeper is not allowed with plan: leave it out, the one that is there plans"
    if key.startswith("hydra.launcher."):
        chosen = next((one for one in arguments if one.startswith("hydra/launcher=")), None)
        if chosen is not None:
            return f"{key} is no setting of {chosen}: see --cfg hydra -p hydra.launcher"
        return f"{key} is no setting of this launcher: give hydra/launcher=parallel or slurm, too"
    if key == "hydra.sweeper.params":
        return f"{key} is no setting yet: give +{key}=VALUE"
    if key in settings():
        group = key.partition(".")[0]
        return f"{key} is no setting of the {group} that is chosen: choose another, {group}=NAME"
    shown = "hydra" if key.startswith("hydra.") else "job"
    return f"{key} is no setting: see bitstill train --cfg {shown}" + nearest(key, settings())
