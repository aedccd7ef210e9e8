"""Data files that cannot be used, through the command line: one line each, and no run begins."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pooch
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.damage import Damage, a_circle, a_folder, a_link, cut, written
from tests.pictures import encoded

Refused = Callable[..., str]


def huge_png(side: int) -> bytes:
    """The head of an image of side^2 pixels, in a hundred bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def table(images: Any, labels: Any, kind: Any = None) -> pa.Table:
    struct_type = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [{"bytes": one, "path": None} for one in images]
    return pa.table({"image": pa.array(rows, struct_type), "label": pa.array(labels, kind)})


GOOD = [encoded(Image.new("RGB", (32, 32)))] * 4
TABLES: dict[str, tuple[Any, str]] = {
    "no image column": (pa.table({"label": [0, 1]}), "image column"),
    "no label column": (table(GOOD, [0] * 4).drop_columns(["label"]), "label column"),
    "images as text": (pa.table({"image": ["a.png"] * 2, "label": [0, 1]}), "image column"),
    "images as numbers": (pa.table({"image": [[0, 1]] * 2, "label": [0, 1]}), "image column"),
    "labels as text": (table(GOOD, ["cat"] * 4), "label column"),
    "labels as fractions": (table(GOOD, [0.5] * 4), "label column"),
    "labels as dates": (table(GOOD, [0] * 4, pa.date32()), "label column"),
    "label empty": (table(GOOD, [0, None, 1, 1]), "row 1: label is empty"),
    "label negative": (table(GOOD, [0, 1, -1, 1]), "row 2: label is -1"),
    "label huge": (table(GOOD, [0, 1, 10**12, 1]), "label is 1000000000000"),
    "label above int64": (table(GOOD, [0, 1, 2**64 - 1, 1], pa.uint64()), "cannot be read"),
    "one class": (table(GOOD, [0] * 4), "one class"),
    "no rows": (table([], [], pa.int64()), "has no rows"),
    "image empty": (table([*GOOD[:3], b""], [0, 1, 0, 1]), "row 3: the image cannot be decoded"),
    "image null": (table([*GOOD[:3], None], [0, 1, 0, 1]), "row 3: the image cannot be decoded"),
    "image text": (table([*GOOD[:3], b"hello"], [0, 1, 0, 1]), "row 3: the image cannot"),
    "image cut": (table([*GOOD[:3], GOOD[0][:40]], [0, 1, 0, 1]), "row 3: the image cannot"),
    "image of no pixels": (
        table([*GOOD[:3], huge_png(0)], [0, 1, 0, 1]),
        "row 3: the image cannot",
    ),
    "image bomb": (table([*GOOD[:3], huge_png(60_000)], [0, 1, 0, 1]), "row 3: the image cannot"),
    "image without its pixels": (
        table([*GOOD[:3], huge_png(64)], [0, 1, 0, 1]),
        "row 3: the image",
    ),
    "image in floats": (
        table([*GOOD[:3], encoded(Image.new("F", (32, 32)), "TIFF")], [0, 1, 0, 1]),
        "floating point",
    ),
}


@pytest.mark.parametrize(
    ("folder", "case"),
    [
        *(("parquet", case) for case in TABLES),
        *(
            ("mit Abstand und ünïcödé 图", case)
            for case in ("no image column", "label negative", "one class", "image cut")
        ),
    ],
)
def test_parquet(refused: Refused, place: Path, folder: str, case: str) -> None:
    content, words = TABLES[case]
    (place / folder).mkdir()
    for split in ("train", "test"):
        pq.write_table(content, place / folder / f"{split}-0.parquet")
    line = refused(
        *("train", "data=parquet", f"data.path='{place / folder}'"),
        *("paths.output=output", f"paths.cache={place / 'cache'}"),
    )
    assert words in line
    assert folder in line or "data.path" in line
    assert not list((place / "output").rglob("run.json"))


def zeros_inside(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(200) + content[204:])


BROKEN: dict[str, Damage] = {
    "empty": written(b""),
    "text": written(b"image,label\n"),
    "magic alone": written(b"PAR1PAR1"),
    "cut": cut,
    "zeros inside": zeros_inside,
    "a folder": a_folder,
    "a dead link": a_link("nowhere"),
    "a circular link": a_circle,
    "a link to a device": a_link("/dev/null"),
    "a link out to a text": a_link("/etc/hostname"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_parquet_file_that_is_none(refused: Refused, place: Path, case: str) -> None:
    (place / "parquet").mkdir()
    for split in ("train", "test"):
        pq.write_table(table(GOOD, [0, 1, 0, 1]), place / "parquet" / f"{split}-0.parquet")
    BROKEN[case](place / "parquet" / "train-0.parquet")
    line = refused(
        *("train", "data=parquet", "data.path=parquet"),
        *("paths.output=output", f"paths.cache={place / 'cache'}"),
    )
    assert "train-0.parquet" in line


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("data.path=nowhere data.download=false", "data.path=nowhere lacks train_32x32.mat"),
        ("data.path=taken data.download=true", "could not be downloaded"),
        ("data.url=file:///etc data.path=new data.download=true", "could not be downloaded"),
        ("data.url=http://127.0.0.1:9 data.path=new data.download=true", "could not be downloaded"),
        ("data.url=../../etc data.path=new data.download=true", "could not be downloaded"),
        ("data.download=perhaps", "true or false"),
        ("data.extra=2", "true or false"),
    ],
)
def test_svhn_settings(
    refused: Refused, place: Path, given: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooch.get_logger(), "disabled", True)  # it says what it downloads
    (place / "taken").write_text("mine")
    # A place of the command's own, where it was told to download to.
    given = given.replace("path=new", "path=output/new")
    line = refused("train", "data=svhn", "paths.output=output", *given.split(" "))
    assert words in line


@pytest.mark.parametrize("batch", [8, 10**6])
def test_a_batch_larger_than_the_data(refused: Refused, place: Path, batch: int) -> None:
    (place / "parquet").mkdir()
    for split in ("train", "test"):
        pq.write_table(table(GOOD, [0, 1, 0, 1]), place / "parquet" / f"{split}-0.parquet")
    line = refused(
        *("train", "data=parquet", "data.path=parquet", "data.val_fraction=0"),
        *("paths.output=output", f"paths.cache={place / 'cache'}"),
        f"schedule.batch_size={batch}",
    )
    assert f"schedule.batch_size = {batch} is not allowed" in line or "at most 4" in line
