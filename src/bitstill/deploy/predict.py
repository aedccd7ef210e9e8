"""Predicts the classes of image files: ``bitstill predict``."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bitstill import load
from bitstill.bar import bar
from bitstill.data.images import image_extensions, quiet_pillow, read_image
from bitstill.engine.engine import Engine
from bitstill.errors import UserError, counted, printable

_BATCH = 256

Image = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]  # (32, 32, 3), or (N, 32, 32, 3)


@dataclass(frozen=True)
class Prediction:
    """The predicted class of an image.

    Attributes:
        image: the image's file.
        label: index of the class.
        name: name of the class.
        confidence: softmax of the logits at T = 1. It is no probability: a student trained at a
            high temperature is far too confident at 1.
    """

    image: str
    label: int
    name: str
    confidence: float


class Predictions(NamedTuple):
    """The predictions for several images.

    Attributes:
        known: predictions in the order of the files.
        unread: an error message for each file of a folder that is no sound image.
        others: how many files in folders have no extension of a known image format.
    """

    known: list[Prediction]
    unread: list[str]
    others: int


def predict(model: Path, images: Sequence[Path], *, threads: int = 1) -> Predictions:
    """Classify image files, and those in folders and their subfolders; links are not followed.

    A damaged file in a folder is skipped; a damaged file that is named itself is an error.

    Args:
        model: a packed file.
        images: files of the :data:`bitstill.data.images.FORMATS`, of any size, and folders.
        threads: number of threads that read and classify.

    Raises:
        UserError: the model or a named file is invalid, or the folders hold no images.
    """
    engine = load(model, threads=threads)
    files, others = _files(images)
    found = Predictions([], [], others)
    # Decode in threads, since decoding a photo takes longer than classifying it.
    shown = bar(len(files), "predicting", "images")
    with quiet_pillow(), ThreadPoolExecutor(threads) as pool, shown:
        for start in range(0, len(files), _BATCH):
            part, read = files[start : start + _BATCH], []
            for pair in zip(part, pool.map(_read, part), strict=True):
                read.append(pair)
                shown.update()
            found.unread.extend(str(image) for _, image in read if isinstance(image, UserError))
            sound = [(file.path, one) for file, one in read if not isinstance(one, UserError)]
            if sound:
                paths, rows = zip(*sound, strict=True)
                found.known.extend(_classified(engine, paths, np.stack(rows)))
    if not found.known:
        first, *more = found.unread
        rest = f"; nor can {counted(len(more), 'other')} be read" if more else ""
        raise UserError(first + rest)
    return found


class _File(NamedTuple):
    path: Path
    is_named: bool  # False if it was found in a folder


def _read(file: _File) -> Image | UserError:
    try:
        return read_image(file.path)
    except UserError as error:
        if file.is_named:
            raise
        return error


def _files(images: Sequence[Path]) -> tuple[list[_File], int]:
    """Return the files that are named or in folders, and the number of other files in folders."""
    known = image_extensions()
    found: list[_File] = []
    others = 0
    for path in images:
        if not path.is_dir():
            found.append(_File(path, is_named=True))
            continue
        files, closed = _below(path)
        inside = [one for one in files if one.suffix.lower() in known]
        if not inside and not closed:
            raise UserError(f"{path} holds no image files: give a folder with some, or a file")
        found += [_File(one, is_named=False) for one in (*inside, *closed)]
        others += len(files) - len(inside)
    return found, others


def _below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files in a folder and its subfolders, and the folders that cannot be entered."""
    closed: list[Path] = []

    def note(error: OSError) -> None:
        closed.append(Path(error.filename))

    below = (Path(one, name) for one, _, names in os.walk(folder, onerror=note) for name in names)
    return [one for one in sorted(below) if _may_be_file(one)], closed


def _may_be_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # its folder can be listed but not entered: reading the file will say so
        return True


def _classified(engine: Engine, files: Sequence[Path], images: Image) -> Iterator[Prediction]:
    logits = engine.logits(images).astype(np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    for file, label, row in zip(files, logits.argmax(axis=1).tolist(), shares, strict=True):
        yield Prediction(str(file), label, engine.model.classes[label], float(row[label]))


def as_json(predictions: Sequence[Prediction]) -> str:
    """Return the predictions as a JSON list."""
    return json.dumps([asdict(one) for one in predictions], indent=2)


def as_table(predictions: Sequence[Prediction]) -> str:
    """Return the predictions as lines of image, class and confidence."""
    images = [printable(one.image) for one in predictions]
    wide = max(len(text) for text in [*images, "image"])
    named = max(len(text) for text in [*(one.name for one in predictions), "class"])
    lines = [f"{'image':{wide}}  {'class':{named}}  confidence"]
    lines += [
        f"{image:{wide}}  {one.name:{named}}  {100 * one.confidence:9.1f}%"
        for image, one in zip(images, predictions, strict=True)
    ]
    return "\n".join(lines)
