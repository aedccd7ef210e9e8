"""Removes this machine's folders and user from texts, so that records can be shared."""

import logging
import os
import re
import sys
from pathlib import Path

# Files of Python and of packages by the names that they are imported under, the longest first.
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
    # A user may have no home; then "~" stays as it is.
    for folder, sign in ((Path.cwd(), "."), (Path(os.path.expanduser("~")), "~")):
        if len(folder.parts) > 1:  # neither is a folder whose name only begins alike
            text = re.sub(rf"{re.escape(str(folder))}(?![\w-]|\.\w)", sign, text)
    return text


class PortableFormatter(logging.Formatter):
    """A formatter whose lines, tracebacks included, are portable."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return portable_text(super().format(record))
