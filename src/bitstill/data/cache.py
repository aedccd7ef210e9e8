"""Named arrays on disk: made once, memory-mapped by every process afterwards."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstill.errors import UserError
from bitstill.files import at_home, locked

_META = "meta.json"
_SCARCE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # these say nothing about the files


@dataclass(frozen=True, eq=False)
class Entry:
    """The content of one cache folder.

    Attributes:
        arrays: each is a file `<name>.npy`.
        facts: whatever else is to be known without reading the arrays; JSON values.
    """

    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]


Check = Callable[[Entry], object]


def cached(
    root: str | Path, key: str, make: Callable[[], Entry], check: Check = lambda entry: None
) -> Entry:
    """Open the entry `key` in the folder `root`, after making it if it is missing or damaged.

    Of several processes that ask at the same time one makes the entry and the others wait for it.
    Damage means an unreadable `meta.json`, or an array that is missing, truncated or of another
    type or shape than noted there, or what `check` refuses. Of the arrays' contents nothing else
    is read again: that would cost every process the whole data set.

    Args:
        root: the cache folder; may begin with `~`; created if need be.
        key: a file name that stands for everything that decides what `make` returns.
        make: called with no lock but the entry's own.
        check: raises what damage raises, or `UserError`, for an entry that `make` does not return:
            the folder may be shared.

    Returns:
        The entry with its arrays memory-mapped copy-on-write: pages are shared between processes,
        torch accepts the memory as writable, and no write reaches the file.

    Raises:
        UserError: the cache folder cannot be written, there is no memory or file handle left, or
            what `make` raises.
    """
    folder = at_home(root, name="paths.cache") / key
    # A complete entry needs no lock, so that a shared read-only cache works.
    entry = _open_if_sound(folder, check)
    if entry is not None:
        return entry
    with ExitStack() as held:
        with _writing(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder.with_name(f"{folder.name}.lock")))
        entry = _open_if_sound(folder, check)
        if entry is not None:
            return entry
        made = make()
        with _writing(folder.parent):
            _write(folder, made, check)
            return _open(folder)


def _open_if_sound(folder: Path, check: Check) -> Entry | None:
    try:
        entry = _open(folder)
        check(entry)
        return entry
    except OSError as error:
        if error.errno in _SCARCE:
            raise UserError(
                f"{folder} cannot be opened ({error.strerror}): end other programs, or this one "
                "and run the same command again"
            ) from error
        return None
    # TypeError, KeyError and AttributeError: the JSON is not of the form that `_write` gives it.
    except (ValueError, TypeError, KeyError, AttributeError, UserError):
        return None


def _open(folder: Path) -> Entry:
    meta = json.loads((folder / _META).read_text(encoding="utf-8"))
    arrays = {}
    for name, (dtype, shape) in meta["arrays"].items():
        array = np.lib.format.open_memmap(folder / f"{name}.npy", mode="c")
        if [array.dtype.str, list(array.shape)] != [dtype, shape]:
            raise ValueError(f"{name}.npy is not the array that {_META} describes")
        arrays[name] = array
    return Entry(arrays, dict(meta["facts"]))


def _write(folder: Path, entry: Entry, check: Check) -> None:
    # The lock is held, so a fixed name is safe, and what a killed process left is removed here. The
    # rename at the end makes a half-written entry impossible.
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for name, array in entry.arrays.items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        described = {
            name: [array.dtype.str, list(array.shape)] for name, array in entry.arrays.items()
        }
        meta = {"facts": dict(entry.facts), "arrays": described}
        (partial / _META).write_text(json.dumps(meta, indent=1), encoding="utf-8")
        for path in partial.iterdir():  # or a crash could leave empty files behind
            with path.open("rb") as file:
                os.fsync(file.fileno())
        _put(partial, folder, check)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)  # leaves a full disk as it was
        raise


def _put(partial: Path, folder: Path, check: Check) -> None:
    """Give a new entry its name, replacing a damaged one."""
    try:
        partial.rename(folder)
    except OSError:
        # On a network disk, a sound entry of another node may have become visible only now; that
        # node may have mapped it, so it stays.
        if _open_if_sound(folder, check) is None:
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        else:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Turn the error of a folder that cannot be written into one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"paths.cache={root} cannot be written ({reason}): "
            f"set paths.cache to a folder that you can write to and that has room for the images"
        ) from error
