"""Image files in one folder per class."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from bitstill.bar import bar
from bitstill.data.images import image_extensions, quiet_pillow, read_image
from bitstill.data.source import UNREAD, Decoded, ImageSource, Part
from bitstill.errors import UserError, counted, printable
from bitstill.files import at_home
from bitstill.topology import MAX_CLASSES, SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_VALIDATION = ("val", "valid", "validation")  # names of a folder with a validation split
_AT_A_TIME = 256  # files that threads are given at a time: after an error, these are finished
_Classes = Mapping[str, Sequence[Path]]  # the image files of each class, both in order


@dataclass(frozen=True, kw_only=True)
class Folder(ImageSource):
    """`train/CLASS/` and `test/CLASS/`, with image files in them or in folders below.

    Classes are numbered in the order of their names. Images of any size and mode become 32x32 RGB
    (see `decode_image`). Hidden files and folders are passed over, and files that are no images by
    their extension. `val_fraction=None` takes `val/CLASS/` as validation split.

    Attributes:
        path: the folder that `train` and `test` are in; may begin with `~`.
    """

    path: str

    def _locate(self) -> Sequence[Path]:
        found = {split: _classes(folder) for split, folder in self._folders().items()}
        self._check(found)
        return [file for classes in found.values() for files in classes.values() for file in files]

    def _folders(self) -> dict[str, Path]:
        """Return the folder of each split that is read."""
        root = at_home(self.path, name="data.path")
        names = {"train": "train", "test": "test"}
        if self.val_fraction is None:
            names["val"] = next((one for one in _VALIDATION if (root / one).is_dir()), "val")
        for name in names.values():
            if not (root / name).is_dir():
                raise UserError(
                    f"data.path={self.path} has no folder {name}: give one with {name}/CLASS/ in "
                    "it, a folder of images for each class"
                )
        return {split: root / name for split, name in names.items()}

    def _check(self, found: Mapping[str, _Classes]) -> None:
        """Refuse classes that cannot be learned, or not be named."""
        train = found["train"]
        if not 2 <= len(train) <= MAX_CLASSES:
            raise UserError(
                f"data.path={self.path} has {counted(len(train), 'folder')} in train/: give one "
                f"for each class, 2 to {MAX_CLASSES}, with images in it"
            )
        if empty := [f"train/{name}" for name, files in train.items() if not files]:
            raise UserError(
                f"data.path={self.path} has no images in {empty[0]}: remove it, or add some"
            )
        if odd := [name for name in train if not name.isprintable()]:
            raise UserError(f"data.path={self.path} has a class {odd[0]!r}: rename its folder")
        for split, classes in found.items():
            if not any(classes.values()):
                raise UserError(f"data.path={self.path} has no images in {split}/CLASS/: add some")
            if unknown := [name for name, files in classes.items() if files and name not in train]:
                raise UserError(
                    f"data.path={self.path} has {split}/{printable(unknown[0])}, and no train/"
                    f"{printable(unknown[0])}: call a class the same in both"
                )

    def _decode(self, files: Sequence[Path]) -> Decoded:
        folders = self._folders()
        own = {
            split: [file for file in files if file.is_relative_to(folder)]
            for split, folder in folders.items()
        }
        classes = {
            split: [file.relative_to(folders[split]).parts[0] for file in those]
            for split, those in own.items()
        }
        names = list(dict.fromkeys(classes["train"]))  # each has images there
        numbers = {name: label for label, name in enumerate(names)}

        def part(split: str) -> Part:
            labels = np.array([numbers[name] for name in classes[split]], np.int64)
            return Part(_decoded(own[split], split), labels)

        val = part("val") if "val" in folders else None
        for name in _VALIDATION:
            if val is None and (folders["train"].parent / name).is_dir():
                log.warning(UNREAD, f"{name}/")
        return Decoded(part("train"), part("test"), len(names), names, val)


def _classes(split: Path) -> _Classes:
    try:
        with os.scandir(split) as inside:
            names = sorted(one.name for one in inside if one.is_dir() and one.name[0] != ".")
    except OSError as error:
        _refuse(error)
    known = image_extensions()
    return {name: sorted(_images(split / name, known), key=os.fspath) for name in names}


def _images(folder: Path, known: set[str]) -> Iterator[Path]:
    for one, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if name[0] != "."]
        for name in names:
            if name[0] != "." and os.path.splitext(name)[1].lower() in known:
                yield Path(one, name)


def _refuse(error: OSError) -> NoReturn:
    raise UserError(
        f"data.path: {error.filename} cannot be read ({error.strerror}): give a folder that can, "
        "or remove it"
    ) from error


def _decoded(files: Sequence[Path], split: str) -> NDArray[np.uint8]:
    """Return the images of files as (N, 32, 32, 3), decoded in threads: photos take long."""
    images = np.empty((len(files), SIDE, SIDE, 3), np.uint8)
    shown = bar(len(files), f"decoding {split}", "images")
    with quiet_pillow(), ThreadPoolExecutor() as pool, shown:
        for start in range(0, len(files), _AT_A_TIME):
            part = files[start : start + _AT_A_TIME]
            for row, image in enumerate(pool.map(_read, part), start):
                images[row] = image
                shown.update()
    return images


def _read(file: Path) -> NDArray[np.uint8]:
    try:
        return read_image(file)
    except UserError as error:
        raise UserError(f"data.path: {error}, or remove it") from error
