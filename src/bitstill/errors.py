"""Errors with a message for the user."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user gave cannot be used.

    The message is one line: the name, what was received, what is allowed, what to do next. The
    command line prints it without a traceback and exits with code 2.
    """


class StoppedError(Exception):
    """A signal has stopped a run, but saving it has failed; the run can still be resumed."""


class SweepFailedError(Exception):
    """Some runs of a sweep failed; the message says which and why. Exit code 1."""


def one_line(error: BaseException) -> str:
    """Return a library's error message in one line, or its type if there is no message."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error message, or its type if there is none."""
    return (str(error) or type(error).__name__).splitlines()[0]


def counted(number: int, noun: str) -> str:
    """Return a number of things: ``1 run``, ``2 runs``."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def printable(text: str) -> str:
    """Return a text that a terminal can show: a file name may hold any bytes."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint at the known word most similar to a given one, or an empty text."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {match[0]}?" if match else ""
