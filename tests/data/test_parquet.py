import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tests.pictures import encoded

from bitstill.data import Parquet
from bitstill.errors import UserError

Write = Callable[..., Path]


@pytest.fixture
def source(options: dict[str, Any]) -> Callable[..., Parquet]:
    def make(path: Path, **changes: Any) -> Parquet:
        return Parquet(**(options | {"path": str(path), "val_fraction": 0.0} | changes))

    return make


def test_images_stay_bit_for_bit(
    source: Callable[..., Parquet], parquet_folder: Path, pictures: NDArray[np.uint8]
) -> None:
    data = source(parquet_folder).load()
    assert np.array_equal(data.train.images.numpy(), pictures[:8])
    assert np.array_equal(data.test.images.numpy(), pictures[8:])
    assert data.train.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert data.train.labels.dtype == torch.int64
    assert data.classes == 3


@pytest.mark.parametrize("image", ["image", "img", "picture"])
@pytest.mark.parametrize("label", ["label", "fine_label", "digit"])
def test_names_of_columns(
    source: Callable[..., Parquet],
    write_parquet: Write,
    pictures: NDArray[np.uint8],
    tmp_path: Path,
    image: str,
    label: str,
) -> None:
    for split in ("train", "test"):
        images = [encoded(Image.fromarray(picture)) for picture in pictures[:2]]
        write_parquet(tmp_path / f"{split}-0.parquet", images, [4, 0], image, label)
    data = source(tmp_path).load()
    assert (data.test.labels.tolist(), data.classes) == ([4, 0], 5)


def test_named_columns_win_over_others(
    source: Callable[..., Parquet], pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    one, two = ([{"bytes": encoded(Image.fromarray(pictures[row]))}] * 2 for row in (0, 1))
    table = pa.table({"coarse_label": [0, 0], "fine_label": [3, 1], "mask": one, "img": two})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}-0.parquet")
    data = source(tmp_path).load()
    assert data.test.labels.tolist() == [3, 1]
    assert np.array_equal(data.test.images[0].numpy(), pictures[1])


def test_data_folder_several_files_and_other_splits(
    source: Callable[..., Parquet],
    write_parquet: Write,
    pictures: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    def write(name: str, row: int) -> None:
        write_parquet(tmp_path / "data" / name, [encoded(Image.fromarray(pictures[row]))], [row])

    write("train-00001-of-00002-0a1b.parquet", 1)
    write("train-00000-of-00002-2c3d.parquet", 0)
    write("test-00000-of-00001.parquet", 2)
    write("validation-00000-of-00001.parquet", 9)
    write("valid-00000-of-00001.parquet", 9)
    data = source(tmp_path).load()
    assert data.train.labels.tolist() == [0, 1]
    assert data.classes == 3


def test_many_rows(
    source: Callable[..., Parquet],
    write_parquet: Write,
    pictures: NDArray[np.uint8],
    parquet_folder: Path,
) -> None:
    images = [encoded(Image.fromarray(pictures[row % 12])) for row in range(1500)]
    labels = list(range(1500))
    file = write_parquet(parquet_folder / "train-00000-of-00001.parquet", images, labels)
    assert source(parquet_folder).load().train.labels.tolist() == labels
    write_parquet(file, [*images[:1400], b"broken", *images[1401:]], labels)
    with pytest.raises(UserError, match=rf"^data.path: {file}, row 1400: the image cannot be dec"):
        source(parquet_folder).load()


def test_decoding_shows_progress(
    source: Callable[..., Parquet],
    parquet_folder: Path,
    watch: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    watch()
    source(parquet_folder).identity()
    assert "decoding train: 100%" in capsys.readouterr().err


def test_missing_folder(source: Callable[..., Parquet], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data.path=\S+/none is not a folder: set it to one"):
        source(tmp_path / "none").identity()


def test_folder_without_parquet(source: Callable[..., Parquet], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data.path=\S+ has no Parquet files in it \(nor in dat"):
        source(tmp_path).identity()


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_split(source: Callable[..., Parquet], parquet_folder: Path, split: str) -> None:
    (parquet_folder / f"{split}-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match=rf" has no {split}-\*.parquet, only t\S+.parquet: both"):
        source(parquet_folder).identity()


@pytest.mark.parametrize(
    ("other", "said"), [("train-00001-of-00003.parquet", "1 and 3"), ("train-0.parquet", "1")]
)
def test_incomplete_or_mixed_files(
    source: Callable[..., Parquet], parquet_folder: Path, other: str, said: str
) -> None:
    (parquet_folder / other).touch()
    with pytest.raises(UserError, match=rf"has 2 train files, but their names say {said}: put all"):
        source(parquet_folder).identity()


def test_no_rows(
    source: Callable[..., Parquet], write_parquet: Write, parquet_folder: Path
) -> None:
    write_parquet(parquet_folder / "test-00000-of-00001.parquet", [], [])
    with pytest.raises(UserError, match=r"test-00000-of-00001.parquet has no rows: a test split"):
        source(parquet_folder).identity()


def noted(names: list[str] | None, labels: list[int]) -> pa.Table:
    """A table with what the hub notes of its label column."""
    image = {"bytes": encoded(Image.new("RGB", (32, 32)))}
    table = pa.table({"image": [image] * len(labels), "label": labels})
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    note = json.dumps({"info": {"features": features if names is not None else {}}})
    return table.replace_schema_metadata({"huggingface": note})


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (["cat", "dog", "owl"], ("cat", "dog", "owl")),
        (["cat", "dog", "owl", "elk"], ("cat", "dog", "owl")),
        (["cat", "dog"], ("0", "1", "2")),
        (["cat", "cat", "owl"], ("0", "1", "2")),
        (["cat", "d\nog", "owl"], ("0", "1", "2")),
        (None, ("0", "1", "2")),
    ],
)
def test_classes_have_the_names_that_the_hub_notes(
    source: Callable[..., Parquet],
    parquet_folder: Path,
    names: list[str] | None,
    known: tuple[str, ...],
) -> None:
    for split in ("train", "test"):
        file = parquet_folder / f"{split}-00000-of-00001.parquet"
        pq.write_table(noted(names, [0, 2, 1, 2]), file)
    data = source(parquet_folder, val_fraction=0.0).load()
    assert (data.names, data.classes) == (known, 3)


def test_a_shard_that_is_there_twice(source: Callable[..., Parquet], parquet_folder: Path) -> None:
    """Two downloads of one version: one shard is there twice, and another is missing."""
    whole = parquet_folder / "train-00000-of-00001.parquet"
    for end in "ab":
        shutil.copy(whole, parquet_folder / f"train-00000-of-00002-{end}.parquet")
    whole.unlink()
    with pytest.raises(UserError, match="train files with one number twice, as 00000-of-00002: "):
        source(parquet_folder).identity()


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"label": [0]}, r"no image column .*its columns are label \(int64\): rename"),
        ({"image": ["text"], "label": [0]}, r"no image column .* are image \(string\), label"),
        ({"image": [{"path": "x"}], "label": [0]}, "no image column"),
        ({"image": [{"bytes": "text"}], "label": [0]}, "no image column"),
        ({"image": [{"bytes": b""}], "name": ["a"]}, r"no label column \(integers, `label`\)"),
        ({"image": [{"bytes": b""}], "a": [0], "b": [1]}, r"no label column .* a \(int64\), b"),
        (
            pa.table([[{"bytes": b""}], [0], [1]], ["image", "label", "label"]),
            r"no label column \(integers, `label`\) or several",
        ),
        (
            {"x": [{"bytes": b""}], "y": [{"bytes": b""}], **{key: [0] for key in "cdefg"}},
            "no image column .* and 2 more",
        ),
    ],
)
def test_missing_columns(
    source: Callable[..., Parquet], parquet_folder: Path, table: Any, expected: str
) -> None:
    file = parquet_folder / "train-00000-of-00001.parquet"
    pq.write_table(pa.table(table), file)
    with pytest.raises(UserError, match=rf"^data.path: {file} has {expected}"):
        source(parquet_folder).identity()


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        ([b"x", b"x"], [0, -1], r"row 1: label is -1; labels are 0 or more"),
        ([b"x", b"x"], [None, 1], r"row 0: label is empty"),
        ([b"x"], [4096], r"row 0: label is 4096"),
        ([b"x"], [4095], r"row 0: the image cannot be decoded"),
        ([b"no image"], [0], r"row 0: the image cannot be decoded \(cannot identify image file"),
        ([None], [0], r"row 0: the image cannot be decoded \(it has no bytes"),
        ([b""], [0], r"row 0: the image cannot be decoded \(it has no bytes"),
    ],
)
def test_bad_rows(
    source: Callable[..., Parquet],
    write_parquet: Write,
    parquet_folder: Path,
    images: list[bytes | None],
    labels: list[int | None],
    expected: str,
) -> None:
    file = write_parquet(parquet_folder / "test-00000-of-00001.parquet", images, labels)
    with pytest.raises(UserError, match=rf"^data.path: {file}, {expected}"):
        source(parquet_folder).identity()


@pytest.mark.parametrize("kept", [0, 3, 100, -9, -1])
def test_truncated_file(source: Callable[..., Parquet], parquet_folder: Path, kept: int) -> None:
    file = parquet_folder / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match=rf"^data.path: {file} cannot be read as Parquet \(.+\): "):
        source(parquet_folder).identity()


def test_file_with_fewer_rows_than_it_says(
    source: Callable[..., Parquet], parquet_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Metadata:
        num_rows = 9
        num_row_groups = 1

        def row_group(self, _: int) -> "Metadata":
            return self

    monkeypatch.setattr(pq, "read_metadata", lambda _: Metadata())
    with pytest.raises(UserError, match=r"cannot be read as Parquet \(8 rows, not 9 as its end"):
        source(parquet_folder).identity()


def test_file_with_a_wild_number_of_rows(
    source: Callable[..., Parquet], parquet_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Metadata:
        num_rows = 1 << 50
        num_row_groups = 0

    monkeypatch.setattr(pq, "read_metadata", lambda _: Metadata())
    with pytest.raises(UserError, match=r"\(1125899906842624 rows in all, 0 in groups\): get"):
        source(parquet_folder).identity()


def test_file_without_right_to_read(
    source: Callable[..., Parquet], parquet_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pq, "read_metadata", refuse)
    with pytest.raises(UserError, match=r"cannot be read as Parquet \(.*Permission denied\): "):
        source(parquet_folder).identity()


@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1))
def test_altered_file_gives_images_or_one_line(
    source: Callable[..., Parquet], parquet_folder: Path, flips: list[tuple[float, int]]
) -> None:
    file = parquet_folder / "train-00000-of-00001.parquet"
    sound = file.read_bytes()
    altered = bytearray(sound)
    for where, mask in flips:
        altered[-1 - int(where * min(1500, len(sound)))] ^= mask  # the end tells the structure
    file.write_bytes(altered)
    try:
        message = source(parquet_folder).identity()
    except UserError as error:
        message = str(error)
    file.write_bytes(sound)
    assert "\n" not in message


def test_replaced_file_is_decoded_again(
    source: Callable[..., Parquet], parquet_folder: Path, write_parquet: Write
) -> None:
    before = source(parquet_folder).identity()
    file = parquet_folder / "test-00000-of-00001.parquet"
    write_parquet(file, [encoded(Image.new("RGB", (32, 32)))], [0])
    os.utime(file, ns=(1, 1))
    assert source(parquet_folder).identity() != before


@pytest.mark.timeout(60)
def test_real_images(source: Callable[..., Parquet], image_folder: Path) -> None:
    data = source(image_folder, val_fraction=0.1).load()
    counts = (len(data.train), len(data.val), len(data.test), data.classes)
    known = {"svhn": (17526, 1947, 6559, 10), "cifar10": (45000, 5000, 10000, 10)}
    assert counts == known.get(image_folder.name, (7, 1, 4, 3))
    assert 60 < data.test.images.float().mean() < 180
    assert data.test.labels.unique().tolist() == list(range(data.classes))


def test_a_changed_byte_is_found_where_pages_have_checksums(
    source: Callable[..., Parquet], parquet_folder: Path
) -> None:
    file = parquet_folder / "train-00000-of-00001.parquet"
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pq.read_table(file), file, write_page_checksum=True, **plain)
    content = bytearray(file.read_bytes())
    content[content.index(b"IDAT") + 20] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"CRC checksum|could not verify|corrupt"):
        source(parquet_folder).identity()


def test_names_are_part_of_the_identity_and_numbers_are_none(
    source: Callable[..., Parquet], parquet_folder: Path
) -> None:
    """An export carries them: the same images under other names are another run."""
    found = []
    for names in (None, ["0", "1", "2"], ["cat", "dog", "owl"], ["dog", "cat", "owl"]):
        for split in ("train", "test"):
            file = parquet_folder / f"{split}-00000-of-00001.parquet"
            pq.write_table(noted(names, [0, 2, 1, 2]), file)
        found.append(source(parquet_folder, val_fraction=0.0).identity())
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_validation_split_is_read_if_asked_for_and_else_said_to_be_passed_over(
    source: Callable[..., Parquet], parquet_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    test = parquet_folder / "test-00000-of-00001.parquet"
    shutil.copy(test, test.with_name("validation-00000-of-00001.parquet"))
    source(parquet_folder).identity()
    [line] = caplog.messages
    assert line.startswith("validation-00000-of-00001.parquet is not read: data.val_fraction")
    caplog.clear()
    own = source(parquet_folder, val_fraction=None).load()
    assert torch.equal(own.val.images, own.test.images)
    assert torch.equal(own.val.labels, own.test.labels)
    assert [len(split) for split in (own.train, own.val, own.test)] == [8, 4, 4]
    assert caplog.messages == []


def test_a_validation_split_that_is_asked_for_has_to_be_there(
    source: Callable[..., Parquet], parquet_folder: Path
) -> None:
    with pytest.raises(UserError, match=r" has no validation-\*\.parquet, .*=null needs it$"):
        source(parquet_folder, val_fraction=None).identity()


def test_a_column_of_bytes_is_read_as_one_of_structs(
    parquet_folder: Path, options: dict[str, Any]
) -> None:
    expected = Parquet(path=str(parquet_folder), **options).identity()
    for file in parquet_folder.glob("*.parquet"):
        table = pq.read_table(file)
        plain = table["image"].combine_chunks().field("bytes")
        pq.write_table(table.set_column(0, "image", plain), file)
    assert Parquet(path=str(parquet_folder), **options).identity() == expected


def test_classes_that_are_not_numbered_from_0_are_a_warning(
    tmp_path: Path,
    options: dict[str, Any],
    write_parquet: Callable[..., Path],
    pictures: NDArray[np.uint8],
    caplog: pytest.LogCaptureFixture,
) -> None:
    images = [encoded(Image.fromarray(picture)) for picture in pictures]
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}-0.parquet", images, [1 + row % 3 for row in range(12)])
    Parquet(path=str(tmp_path), **options).identity()
    assert caplog.messages == ["no training image has label 0 of 4: number the classes from 0"]
