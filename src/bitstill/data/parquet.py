"""Any folder of Parquet files with images, in the form of the Hugging Face hub."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitstill.bar import bar
from bitstill.data.images import decode_image, quiet_pillow
from bitstill.data.source import UNREAD, Decoded, ImageSource, Part
from bitstill.errors import UserError, one_line
from bitstill.files import at_home
from bitstill.topology import MAX_CLASSES, SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_BATCH_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class Parquet(ImageSource):
    """`train-*.parquet` and `test-*.parquet`, with encoded images and integer labels.

    Images are found in the struct column that has a field `bytes`, labels in the column `label`,
    `fine_label` or the only integer one. Images of any size and mode become 32x32 RGB (see
    `decode_image`). There are as many classes as the largest label in either split says; their
    names are those that the hub notes beside the columns. `val_fraction=None` takes
    `validation-*.parquet` as validation split.

    Attributes:
        path: the folder of the files, or the one above with a `data` in it; may begin with `~`.
    """

    path: str

    def _locate(self) -> Sequence[Path]:
        root = at_home(self.path, name="data.path")
        if not root.is_dir():
            raise UserError(
                f"data.path={self.path} is not a folder: set it to one with train-*.parquet and "
                f"test-*.parquet in it"
            )
        for folder in (root, root / "data"):
            if any(folder.glob("*.parquet")):
                splits = ["train", "test", *(["validation"] if self.val_fraction is None else [])]
                return [file for split in splits for file in _shards(folder, split)]
        raise UserError(
            f"data.path={self.path} has no Parquet files in it (nor in data/): set it to the "
            f"folder with train-*.parquet and test-*.parquet"
        )

    def _decode(self, files: Sequence[Path]) -> Decoded:
        unread = sorted(one.name for one in files[0].parent.glob("val*.parquet"))
        if unread and self.val_fraction is not None:
            log.warning(UNREAD, unread[0])
        splits: dict[str, list[Path]] = {}
        for file in files:
            splits.setdefault(file.name.partition("-")[0], []).append(file)
        parts = {split: _decode_split(own, split) for split, own in splits.items()}
        train, test, val = parts["train"], parts["test"], parts.get("validation")
        classes = 1 + max(int(part.labels.max()) for part in parts.values())
        if (train.labels == train.labels[0]).all():
            raise UserError(
                f"data.path={self.path} has training images of one class only, "
                f"{train.labels[0]}: at least two are needed to tell apart"
            )
        return Decoded(train, test, classes, _class_names(files[0], classes), val)


def _class_names(file: Path, classes: int) -> list[str] | None:
    """The class names from the hub's metadata; None if there are none that fit."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(file)
    _, label = _columns(file, schema)
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])
        names = [str(name) for name in noted["info"]["features"][label]["names"]][:classes]
    except (KeyError, TypeError, ValueError):
        return None
    fit = len(set(names)) == classes and all(name.isprintable() and name for name in names)
    return names if fit else None


def _shards(folder: Path, split: str) -> list[Path]:
    """The files of a split in order; their names tell when some are missing."""
    files = sorted(folder.glob(f"{split}-*.parquet"))
    if not files:
        raise UserError(
            f"data.path: {folder} has no {split}-*.parquet, only "
            f"{_listed(sorted(file.name for file in folder.glob('*.parquet')))}: "
            + (
                "data.val_fraction=null needs it"
                if split == "validation"
                else "both train-*.parquet and test-*.parquet are needed"
            )
        )
    matches = [match for file in files if (match := re.search(r"-(\d+)-of-(\d+)", file.name))]
    numbers, totals = [int(match[1]) for match in matches], {int(match[2]) for match in matches}
    if totals and totals != {len(files)}:
        raise UserError(
            f"data.path: {folder} has {len(files)} {split} files, but their names say "
            f"{' and '.join(str(total) for total in sorted(totals))}: "
            f"put all files of one version there, and no others"
        )
    if len(set(numbers)) != len(numbers):
        raise UserError(
            f"data.path: {folder} has {split} files with one number twice, as "
            f"{next(one[0] for one in matches if numbers.count(int(one[1])) > 1)[1:]}: "
            f"put all files of one version there, and no others"
        )
    return files


def _decode_split(files: Sequence[Path], split: str) -> Part:
    counts = [_row_count(file) for file in files]
    if sum(counts) == 0:
        raise UserError(
            f"data.path: {_listed([str(file) for file in files])} has no rows: a {split} split "
            f"needs images; get the files again"
        )
    part = Part(np.empty((sum(counts), SIDE, SIDE, 3), np.uint8), np.empty(sum(counts), np.int64))
    start = 0
    with bar(sum(counts), f"decoding {split}", "images") as shown, quiet_pillow():
        for file, count in zip(files, counts, strict=True):
            rows = slice(start, start + count)
            for decoded in _decode_file(file, Part(part.images[rows], part.labels[rows])):
                shown.update(decoded)
            start += count
    return part


def _decode_file(file: Path, into: Part) -> Iterator[int]:
    """Decode a file into `into`; yield the number of rows after every few rows."""
    row = 0
    for encoded, labels in _batches(file):
        into.labels[row : row + len(labels)] = labels
        for image_bytes in encoded:
            into.images[row] = _decode(image_bytes, file=file, row=row)
            row += 1
        yield len(encoded)
    if row != len(into.labels):  # the rest would be uninitialized memory
        raise _unreadable(file, f"{row} rows, not {len(into.labels)} as its end says")


def _row_count(file: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(file)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise _unreadable(file, one_line(error)) from error
    groups = sum(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
    if groups != metadata.num_rows:  # memory is allocated for so many: it must be right
        raise _unreadable(file, f"{metadata.num_rows} rows in all, {groups} in groups")
    return int(groups)


def _batches(file: Path) -> Iterator[tuple[list[bytes | None], NDArray[np.int64]]]:
    """Encoded images and labels, some rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as table:
            image, label = _columns(file, table.schema_arrow)
            start = 0
            for batch in table.iter_batches(_BATCH_ROWS, columns=[image, label]):
                labels = _checked_labels(batch.column(label), file=file, label=label, start=start)
                column = batch.column(image)
                encoded = column.field("bytes") if pa.types.is_struct(column.type) else column
                yield encoded.to_pylist(), labels
                start += len(batch)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise _unreadable(file, one_line(error)) from error


def _columns(file: Path, schema: Any) -> tuple[str, str]:
    """The names of the image column and of the label column."""
    import pyarrow as pa

    images = [field.name for field in schema if _has_bytes(field.type)]
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    chosen = _choose(images, ("image", "img")), _choose(integers, ("label", "fine_label"))
    wanted = (
        "image column (bytes, or a struct with a field `bytes`)",
        "label column (integers, `label`)",
    )
    for name, what in zip(chosen, wanted, strict=True):
        if name is None or schema.names.count(name) > 1:
            columns = _listed([f"{field.name} ({field.type})" for field in schema])
            raise UserError(
                f"data.path: {file} has no {what} or several, its columns are {columns}: "
                f"rename or convert a column, or use other files"
            )
    return str(chosen[0]), str(chosen[1])


def _has_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")  # -1 if there is none, or two
        return index >= 0 and _has_bytes(kind.field(index).type)
    return kind in (pa.binary(), pa.large_binary())


def _choose(names: Sequence[str], preferred: Sequence[str]) -> str | None:
    """The first preferred name that is there, or else the only name there is."""
    for name in preferred:
        if name in names:
            return name
    return names[0] if len(names) == 1 else None


def _checked_labels(column: Any, *, file: Path, label: str, start: int) -> NDArray[np.int64]:
    import pyarrow as pa

    if column.null_count:
        row = start + column.is_null().to_pylist().index(True)
        raise UserError(
            f"data.path: {file}, row {row}: {label} is empty; every image needs a label of 0 or "
            f"more: remove the row"
        )
    labels: NDArray[np.int64] = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    if (labels < 0).any():
        row = int(np.argmax(labels < 0))
        raise UserError(
            f"data.path: {file}, row {start + row}: {label} is {labels[row]}; labels are 0 or more "
            f"(a negative one often means that the split is unlabelled): use a labelled split"
        )
    if (labels >= MAX_CLASSES).any():
        row = int(np.argmax(labels >= MAX_CLASSES))
        raise UserError(
            f"data.path: {file}, row {start + row}: {label} is {labels[row]}; labels are below "
            f"{MAX_CLASSES}: number the classes from 0"
        )
    return labels


def _decode(image_bytes: bytes | None, *, file: Path, row: int) -> NDArray[np.uint8]:
    """One image as uint8, shape (32, 32, 3); `row` is counted from 0 in its file."""
    try:
        if not image_bytes:
            raise ValueError("it has no bytes, only a path or nothing")
        return decode_image(image_bytes)
    except ValueError as error:
        raise UserError(
            f"data.path: {file}, row {row}: the image cannot be decoded ({one_line(error)}): "
            f"get the file again, or remove the row"
        ) from error


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _unreadable(file: Path, reason: str) -> UserError:
    return UserError(f"data.path: {file} cannot be read as Parquet ({reason}): get the file again")
