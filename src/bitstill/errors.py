"""Errors with a message for the user."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user gave cannot be used.

    The message is one line: the name, what was received, what is allowed, what to do next. The
    command line prints it without a traceback and exits with code 2.
    """


class StoppedError(Exception):
    """A signal has stopped a run, and what was to be done about it has failed: it can go on."""


class SweepFailedError(Exception):
    """Some runs of a sweep failed; the message says which and why. Exit code 1."""


def one_line(error: BaseException) -> str:
    """Return all that a library's error says, in one line: its type, if that is nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of what a library's error says: its type, if that is nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]


def counted(number: int, noun: str) -> str:
    """Return a number of things: ``1 run``, ``2 runs``."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def printable(text: str) -> str:
    """Return a text as a terminal may have it: of a file's name, which may hold any bytes."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint at the known word that is most like a given one, or an empty text."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {match[0]}?" if match else ""
