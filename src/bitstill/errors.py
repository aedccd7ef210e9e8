"""Errors with a message for the user."""


class UserError(Exception):
    """Something that the user gave cannot be used.

    The message is one line: the name, what was received, what is allowed, what to do next. The
    command line prints it without a traceback and exits with code 2.
    """


class SweepFailedError(Exception):
    """Some runs of a sweep failed; the message says which and why. Exit code 1."""
