"""Removes this machine's folders and user from texts, so that records can be shared."""

import logging
import os
import re
import sys
from pathlib import Path

# The folders that Python and packages are imported from, the longest first.
_IMPORTED = sorted(
    {str(Path(entry).resolve()) for entry in sys.path if entry} | {sys.prefix, sys.base_prefix},
    key=len,
    reverse=True,
)


def portable_text(text: str) -> str:
    """Replace the working folder by ``.``, the home folder by ``~``, and shorten module paths."""
    for imported in _IMPORTED:
        if len(Path(imported).parts) > 1:
            text = text.replace(f"{imported}/", "")
    # For a user without a home, "~" is not expanded.
    for folder, sign in ((Path.cwd(), "."), (Path(os.path.expanduser("~")), "~")):
        if len(folder.parts) > 1:  # the pattern spares folders whose name only begins alike
            text = re.sub(rf"{re.escape(str(folder))}(?![\w-]|\.\w)", sign, text)
    return text


class PortableFormatter(logging.Formatter):
    """A formatter whose lines, tracebacks included, are portable."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return portable_text(super().format(record))
