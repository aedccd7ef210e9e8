"""The official archive of CIFAR-10, made up: what is downloaded and checked is as for SVHN."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.data.conftest import serving

from bitstill.data import Cifar10
from bitstill.data.cifar10 import ARCHIVE, MD5
from bitstill.errors import UserError

LABELS = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 0, 8)


@pytest.fixture
def archive(tmp_path: Path, pictures: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures in each of the six files, the members in no order."""
    file = tmp_path / "official" / ARCHIVE
    file.parent.mkdir()
    with tarfile.open(file, "w:gz") as opened:
        batches = [(f"data_batch_{number}", 2 * number - 2) for number in range(5, 0, -1)]
        for name, first in [("test_batch", 10), *batches]:
            content = b"".join(
                bytes([LABELS[row]]) + b"".join(pictures[row, :, :, c].tobytes() for c in range(3))
                for row in (first, first + 1)
            )
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
        opened.addfile(tarfile.TarInfo("cifar-10-batches-bin/readme.html"))
    found = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(MD5, ARCHIVE, found)
    return file


def source(folder: Path, options: dict[str, Any], **changes: Any) -> Cifar10:
    chosen = options | {"val_fraction": 0.0, "url": "http://127.0.0.1:9/", "download": False}
    return Cifar10(**(chosen | {"path": str(folder)} | changes))


def test_layout_labels_and_names(
    archive: Path, options: dict[str, Any], pictures: NDArray[np.uint8]
) -> None:
    data = source(archive.parent, options).load()
    assert np.array_equal(data.train.images.numpy(), pictures[:10])
    assert np.array_equal(data.test.images.numpy(), pictures[10:])
    assert (*data.train.labels.tolist(), *data.test.labels.tolist()) == LABELS
    assert data.names[3] == "cat"
    assert data.names[8:] == ("ship", "truck")


def test_it_is_downloaded(archive: Path, options: dict[str, Any], tmp_path: Path) -> None:
    new = tmp_path / "new"
    with pytest.raises(UserError, match=rf"lacks {ARCHIVE} \(MD5 \w+\): set data.download=true"):
        source(new, options).identity()
    with serving(archive.parent) as url:
        found = source(new, options, url=url, download=True).identity()
    assert found == source(archive.parent, options).identity()
    assert (new / ARCHIVE).read_bytes() == archive.read_bytes()


def test_another_archive_is_never_opened(archive: Path, options: dict[str, Any]) -> None:
    archive.write_bytes(b"another")
    with pytest.raises(UserError, match=rf"{ARCHIVE} has MD5 \w+, expected {MD5[ARCHIVE]}: move"):
        source(archive.parent, options, download=True).identity()
    assert archive.read_bytes() == b"another"
