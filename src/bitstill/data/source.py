"""What all image sources share: decode once, identify by checksum, split, memory-map."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitstill.data.cache import Entry, cached
from bitstill.data.splits import (
    ImageData,
    Split,
    check_split,
    train_and_val_indices,
    validation_count,
)
from bitstill.errors import UserError
from bitstill.reading import fits
from bitstill.topology import SIDE

log = logging.getLogger(__name__)

_WHERE = {"path", "url", "download"}  # where files come from, not what is decoded
UNREAD = (
    "%s is not read: data.val_fraction of the training images is held out instead; "
    "data.val_fraction=null reads it"
)
CACHE_FORMAT = 4
"""Raised whenever a decoder or the split makes something else of the same files."""


_contents: ContextVar[dict[ImageSource, Entry] | None] = ContextVar("contents", default=None)


@contextmanager
def read_once() -> Iterator[None]:
    """Within this, or a function that it decorates, look for the files of each source once.

    A sweep has many runs with the same source.
    """
    before = _contents.set({})
    try:
        yield
    finally:
        _contents.reset(before)


class Part(NamedTuple):
    """Decoded images: uint8, shape (N, 32, 32, 3); and labels: int64, shape (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


class Decoded(NamedTuple):
    """Everything that is read of a source, before a validation split is taken from `train`.

    Attributes:
        train: the training images.
        test: the test images.
        classes: how many there are.
        names: of the classes; None where they have none but their numbers.
        val: the source's own validation images, where these are asked for.
    """

    train: Part
    test: Part
    classes: int
    names: Sequence[str] | None = None
    val: Part | None = None


@dataclass(frozen=True, kw_only=True)
class ImageSource(ABC):
    """Images from somewhere, identified by their content.

    Nothing is checked or read before `identity` or `load` is called.

    Attributes:
        val_fraction: the part of the training images, in [0, 1), that becomes the validation split;
            None is the source's own split, for those that may have one.
        split_seed: seeds the choice of that part, and nothing else; 0 or more.
        cache: a folder for decoded images; may begin with `~`.
        checksum: SHA-256 (hex) that the decoded images must have; None accepts any.
    """

    val_fraction: float | None
    split_seed: int
    cache: str
    checksum: str | None = None

    def identity(self) -> str:
        """SHA-256 (hex) of the images and their split, wherever the files are.

        Does not import torch. The first call for some files decodes them into the cache.

        Raises:
            UserError: files, options or cache cannot be used; the message says what to do.
        """
        return self._identity(self._content())

    def training_images(self) -> int:
        """The number of training images, without those held out for validation.

        Raises:
            UserError: as `identity` does.
        """
        count = len(self._content().arrays["train_labels"])
        return count - validation_count(count, val_fraction=self.val_fraction)

    def load(self) -> ImageData:
        """The three splits as tensors on memory-mapped files; nothing is copied into memory.

        Raises:
            UserError: as `identity` does.
        """
        content = self._content()
        identity = self._identity(content)
        training = self._training_arrays(content, identity)
        return ImageData(
            train=_tensors(training, "train"),
            val=_tensors(training, "val"),
            test=_tensors(content.arrays, "test"),
            names=tuple(content.facts["names"]),
            identity=identity,
        )

    @abstractmethod
    def _locate(self) -> Sequence[Path]:
        """Return the files to decode, after any download; raise if one is missing."""

    @abstractmethod
    def _decode(self, files: Sequence[Path]) -> Decoded:
        """Decode the files that `_locate` found."""

    def _content(self) -> Entry:
        kept = _contents.get()
        if kept is None:
            return self._read()
        if self not in kept:
            kept[self] = self._read()
        return kept[self]

    def _read(self) -> Entry:
        # Checked before the files are decoded, which may take minutes.
        check_split(val_fraction=self.val_fraction, split_seed=self.split_seed)
        files = self._locate()
        name = type(self).__name__.lower()
        stamps = _stamps(files)
        key = f"{name}-{_digest([CACHE_FORMAT, name, stamps, self._own_options()])[:16]}"
        entry = cached(self.cache, key, lambda: _as_entry(self._decode(files), name), _check_entry)
        found = entry.facts["checksum"]
        if self.checksum is not None and self.checksum.lower() != found:
            raise UserError(
                f"data.checksum: the {name} images have SHA-256 {found}, expected "
                f"{self.checksum}: use the files that it was taken from, or set "
                f"data.checksum={found} (null accepts any)"
            )
        return entry

    def _own_options(self) -> dict[str, Any]:
        """Return the options of a source's own class, which may decide what it decodes."""
        shared = {one.name for one in dataclasses.fields(ImageSource)} | _WHERE
        own = [one.name for one in dataclasses.fields(self) if one.name not in shared]
        return {name: getattr(self, name) for name in own}

    def _identity(self, content: Entry) -> str:
        validation_count(len(content.arrays["train_labels"]), val_fraction=self.val_fraction)
        names = content.facts["names"]
        # Class names are part of a run's files, and so of the identity; plain numbers are not.
        named = [] if names == list(map(str, range(len(names)))) else [names]
        fraction = None if self.val_fraction is None else float(self.val_fraction)
        split = [fraction, int(self.split_seed)]
        return _digest([content.facts["checksum"], *split, *named])

    def _training_arrays(self, content: Entry, identity: str) -> Mapping[str, NDArray[Any]]:
        images, labels = content.arrays["train_images"], content.arrays["train_labels"]
        if (fraction := self.val_fraction) is None:
            return content.arrays
        if fraction == 0:
            return {**content.arrays, **_arrays(val=Part(images[:0], labels[:0]))}

        # Indexing a mapped array would copy the result into the memory of each of many parallel
        # runs: 200 MB. So the two parts are written to the cache as well, where all processes
        # share them. Each split in use costs the training set once more on disk.
        def make() -> Entry:
            indices = train_and_val_indices(
                len(labels), val_fraction=fraction, split_seed=self.split_seed
            )
            train, val = (Part(images[those], labels[those]) for those in indices)
            return Entry(_arrays(train=train, val=val), {})

        def check(entry: Entry) -> None:
            parts = [
                _part(entry.arrays, name)
                for name in ("train", "val")
                if entry.arrays[f"{name}_labels"].size
            ]
            for part in parts:
                _check_part(part, "a split", len(content.facts["names"]))
            if sum(len(part.labels) for part in parts) != len(labels):
                raise ValueError("a split has lost images")

        key = f"split-{_digest([CACHE_FORMAT, identity])[:16]}"
        return cached(self.cache, key, make, check).arrays


def _stamps(files: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Return each file's path, size and time of change.

    With resolved paths, a link and its target share an entry of the cache; with size and time, a
    replaced file gets a new one.
    """
    resolved = functools.cache(os.path.realpath)  # of folders: there may be many files in each

    def stamp(file: Path) -> tuple[str, int, int]:
        found, path = file.lstat(), os.path.join(resolved(file.parent), file.name)
        if stat.S_ISLNK(found.st_mode):
            found, path = file.stat(), os.path.realpath(file)
        return path, found.st_size, found.st_mtime_ns

    return [stamp(file) for file in files]


def _as_entry(decoded: Decoded, source: str) -> Entry:
    parts = {"train": decoded.train, "test": decoded.test}
    parts |= {} if decoded.val is None else {"val": decoded.val}
    for split, part in parts.items():
        _check_part(part, f"{source} has {split} images", decoded.classes)
    absent = set(range(decoded.classes)) - set(decoded.train.labels.tolist())
    if absent and decoded.names is None:
        first = f"no training image has label {min(absent)}"
        log.warning("%s of %d: number the classes from 0", first, decoded.classes)
    arrays = _arrays(**parts)
    facts = {
        "checksum": _checksum(arrays),
        "names": list(decoded.names or map(str, range(decoded.classes))),
    }
    return Entry(arrays, facts)


def _arrays(**parts: Part) -> dict[str, NDArray[Any]]:
    """Return the arrays of some splits, under the names that :func:`_part` reads."""
    return {
        f"{split}_{kind}": array
        for split, part in parts.items()
        for kind, array in part._asdict().items()
    }


def _part(arrays: Mapping[str, NDArray[Any]], split: str) -> Part:
    return Part(arrays[f"{split}_images"], arrays[f"{split}_labels"])


def _check_entry(entry: Entry) -> None:
    """Check a cache entry of :func:`_as_entry`, except for its pixels.

    Raises:
        UserError, ValueError, KeyError: it is not.
    """
    names, checksum = entry.facts["names"], entry.facts["checksum"]
    if not (fits(names, list[str]) and fits(checksum, str)):
        raise ValueError("its names or its checksum are none")
    for split in ("train", "test", *(["val"] if "val_labels" in entry.arrays else [])):
        _check_part(_part(entry.arrays, split), split, len(names))


def _check_part(part: Part, what: str, classes: int) -> None:
    """Check that a source's images and labels have the required types and shapes.

    Raises:
        UserError: it has decoded something else.
    """
    images, labels = part
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE, 3) or not len(images):
        raise UserError(
            f"{what} of {images.dtype}, {images.shape}: give uint8, (N, {SIDE}, {SIDE}, 3), N > 0"
        )
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise UserError(f"{what} with labels of {labels.dtype}, {labels.shape}: give int64, (N,)")
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(
            f"{what} with labels {labels.min()} to {labels.max()}, and {classes} classes: number "
            "the classes from 0"
        )


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 (hex) over names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _tensors(arrays: Mapping[str, NDArray[Any]], name: str) -> Split:
    import torch

    return Split(*map(torch.from_numpy, _part(arrays, name)))
