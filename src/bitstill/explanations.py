"""Turns errors that users can fix into one line."""

import errno
import os
import select
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from bitstill.configuration.hydra_errors import explain_hydra
from bitstill.errors import SweepFailedError, UserError, one_line, printable

FULL_ERROR = "HYDRA_FULL_ERROR"  # an environment variable: 1 shows tracebacks
_NO_MEMORY = ("can't allocate memory", "out of memory")  # torch's words for CPU and GPU
_NO_PROCESS = ("can't start new thread", "Resource temporarily unavailable")  # threads, fork
_LONGEST = 1000  # characters: a longer line repeats a long value, and hides the advice


def say(line: str) -> None:
    """Print a line on standard error, after the command's name."""
    # The names of files may hold any characters.
    shown = "\n".join(_shortened(printable(one)) for one in line.splitlines())
    print(f"bitstill: {shown}", file=sys.stderr)  # noqa: T201  # the command line's output


def _shortened(line: str) -> str:
    """Return a long line without its middle: what to do is at its end."""
    return line if len(line) <= _LONGEST else f"{line[:600]} ... {line[-300:]}"


def print_error(error: Exception, arguments: Sequence[str] = ()) -> int:
    """Print an error, in one line if the user can fix it; return the exit code."""
    if isinstance(error, BrokenPipeError) and _reader_has_left():
        return 1
    line = explain(error, arguments)
    if line is None:
        traceback.print_exception(error)
        return 1
    if isinstance(error, SweepFailedError):  # it has a line for each run
        say(line)
        return 1
    say(printable(line))  # one line, even if a name in it has line breaks
    return 2


def _reader_has_left() -> bool:
    """Whether standard output has lost its reader (``| head``): then nothing is printed."""
    pipe = select.poll()
    # POLLOUT, since macOS reports nothing if nothing is asked for.
    pipe.register(sys.stdout.fileno(), select.POLLOUT)
    has_left = any(news & (select.POLLERR | select.POLLHUP) for _, news in pipe.poll(0))
    if has_left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
    return has_left


def explain(error: Exception, arguments: Sequence[str]) -> str | None:
    """Return one line for an error that the user can fix, or None for a defect of ours."""
    chain = _chain(error)
    for link in chain:
        if isinstance(link, UserError | SweepFailedError):
            return str(link)
        # os.getcwd raises it without a file's name.
        if isinstance(link, FileNotFoundError) and link.errno and link.filename is None:
            return "the folder that you are in is not there any more: cd to another"
        if isinstance(link, FileExistsError) and not Path(link.filename or ".").exists():
            return f"{link.filename} is a link to what is not there: mend that, or give another"
        if _is_unwritable(link):
            return f"{link}: mend that, and run the same command again"
    return explain_hydra(chain, arguments) or _explain_library(chain)


def _explain_library(chain: Iterable[BaseException]) -> str | None:
    for link in chain:
        if isinstance(link, yaml.YAMLError):
            return f"a configuration file cannot be read ({one_line(link)}): fix it there"
        if isinstance(link, UnicodeDecodeError):
            return f"a configuration file is not UTF-8 ({one_line(link)}): save it as UTF-8"
        if isinstance(link, RecursionError):
            return "a configuration refers to itself: look for it in its defaults and in ${...}"
        if type(link).__name__ == "FailedJobError":  # of submitit, an optional package
            return f"Slurm has not taken the jobs ({one_line(link)}): see that sbatch works here"
        if isinstance(link, MemoryError) or any(one in str(link) for one in _NO_MEMORY):
            return (
                f"out of memory ({one_line(link)}): end other programs, or give a smaller "
                "schedule.batch_size or hydra.launcher.n_jobs"
            )
        if any(one in str(link) for one in _NO_PROCESS):
            return (
                f"no more processes and threads are allowed ({one_line(link)}): end other "
                "programs, or give a smaller hydra.launcher.n_jobs; see ulimit -u"
            )
    return None


def _is_unwritable(error: BaseException) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    forbidden = (errno.EROFS, errno.EACCES, errno.EPERM)
    no_folder = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
    if not isinstance(error, OSError):
        return False
    # Under an automounter or /proc, a folder cannot be made although its parent exists.
    at_mkdir = [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1:] == ["mkdir"]
    return at_mkdir or error.errno in (*full, *forbidden, *no_folder)


def _chain(error: BaseException | None) -> list[BaseException]:
    links: list[BaseException] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links
