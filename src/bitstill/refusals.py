"""One line for what libraries raise at input that they cannot read."""

from collections.abc import Iterable

import yaml
from omegaconf.errors import OmegaConfBaseException


def explain_library(chain: Iterable[BaseException]) -> str | None:
    """Return a line for an error, the first of a chain, that a user can mend; None for others."""
    for link in chain:
        if isinstance(link, yaml.YAMLError):
            return f"a configuration file cannot be read ({_one_line(link)}): mend it there"
        if isinstance(link, UnicodeDecodeError):
            return f"a configuration file is not UTF-8 ({_one_line(link)}): save it as UTF-8"
        if isinstance(link, RecursionError):
            return "a configuration refers to itself: look for it in its defaults and in ${...}"
        if isinstance(link, ValueError) and "integer string conversion" in str(link):
            return "a number has thousands of digits: give KEY=VALUE with a smaller one"
        if isinstance(link, MemoryError) or "can't allocate memory" in str(link):
            return (
                f"out of memory ({_one_line(link)}): end other programs, or give a smaller "
                "schedule.batch_size or hydra.launcher.n_jobs"
            )
    return None


def with_next_step(line: str, error: BaseException) -> str:
    """Complete a line of Hydra's that says what is wrong and not what to do."""
    if line.startswith("Ambiguous value"):
        return f"{line}: give -m to run each, or brackets for a list"
    cause = error.__cause__
    if line.startswith("Error merging override") and isinstance(cause, OmegaConfBaseException):
        return f"{line} ({str(cause).splitlines()[0]}): give another value"
    return line


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
