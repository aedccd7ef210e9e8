"""Reading files that may be damaged or foreign: a correct value, or a one-line error."""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from bitstill.errors import UserError, one_line

_DIGITS = 20  # enough for any 64-bit integer, with its sign


@contextmanager
def reading(path: Path, advice: str) -> Iterator[None]:
    """Turn any error of a damaged file into one line.

    Args:
        path: of the file that the body reads, and does nothing else.
        advice: what to do.

    Raises:
        UserError: the body raised something.
    """
    try:
        yield
    except UserError:
        raise
    except PermissionError as error:  # the file may be sound
        raise UserError(not_allowed(path)) from error
    except Exception as error:  # damage may raise anything
        raise UserError(f"{path} cannot be read ({_reason(error)}): {advice}") from error


def not_allowed(path: Path) -> str:
    """Return the line on a file that is there, and for others."""
    return f"{path} cannot be read (Permission denied): ask its owner to let you read it"


def _reason(error: Exception) -> str:
    text = one_line(error)
    if "allow_pickle" in text:  # advice of NumPy that would run code from the file
        return "it holds something else than plain arrays"
    return text[:200]


def loads(content: bytes) -> Any:
    """Parse JSON, refusing integers too large to compute with.

    Raises:
        ValueError: it is no JSON, or nested too deep, or a number has too many digits: as a float
            it overflows.
    """
    try:
        return json.loads(content, parse_int=_whole)
    except RecursionError as error:  # its words differ between versions of Python
        raise ValueError("it is nested too deep") from error


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number in it has {len(digits)} digits")
    return int(digits)


def without_aliases(text: str) -> str:
    """Return YAML unchanged, refusing aliases.

    Hydra writes no such thing; ten lines of it stand for more than any memory holds.

    Raises:
        ValueError: it has aliases.
        yaml.YAMLError: it is no YAML.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if any(isinstance(one, yaml.AliasEvent) for one in yaml.parse(text, Loader=loader)):
        raise ValueError("it has aliases")
    return text


def json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is no file, or something else in it."""
    try:
        found = loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def check_sha256(
    path: Path, content: bytes | memoryview, expected: str | None, *, trained: str, advice: str
) -> None:
    """Compare a file with the SHA-256 recorded for it.

    Args:
        path: of the file.
        content: of the file.
        expected: SHA-256, or None if none was recorded.
        trained: what wrote the file when it was trained, for the message.
        advice: what to do.

    Raises:
        UserError: it is another.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise UserError(
            f"{path} has changed since {trained} was trained (SHA-256 {found[:12]}, expected "
            f"{str(expected)[:12]}): {advice}"
        )


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value of a JSON file has an annotated type.

    >>> fits({"last": {"epoch": 3}}, dict[str, dict[str, float] | None])
    True
    >>> fits(True, int), fits(float("nan"), float)
    (False, False)
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, parts[1]) for one in value.values())
    if origin is list:
        return isinstance(value, list) and all(fits(one, parts[0]) for one in value)
    if annotation is float:
        return type(value) in (int, float) and abs(value) < math.inf
    return annotation is Any or type(value) is (type(None) if annotation is None else annotation)
