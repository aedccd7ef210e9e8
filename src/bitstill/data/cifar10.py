"""CIFAR-10: small photographs of ten kinds of things, in their official split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bitstill.data.official import check_md5, official_files
from bitstill.data.source import Decoded, ImageSource, Part

if TYPE_CHECKING:
    from tarfile import TarFile

ARCHIVE = "cifar-10-binary.tar.gz"
MD5 = {ARCHIVE: "c32a1d4ab5d03f1284b67883e8d87530"}
_TRAIN = [f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6)]
_TEST = ["cifar-10-batches-bin/test_batch.bin"]
_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


@dataclass(frozen=True, kw_only=True)
class Cifar10(ImageSource):
    """The official archive of 32x32 photographs: 50,000 to train on, 10,000 to test on.

    It is checked against its MD5 when it is decoded, and never overwritten or unpacked.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    Attributes:
        path: the folder of the archive; may begin with `~`.
        url: where it is downloaded from, without the file name.
        download: whether it may be downloaded if it is missing.
    """

    val_fraction: float
    path: str
    url: str
    download: bool

    def _locate(self) -> Sequence[Path]:
        return official_files(self.path, MD5, url=self.url, download=self.download)

    def _decode(self, files: Sequence[Path]) -> Decoded:
        import tarfile

        [archive] = files
        check_md5(archive, MD5[archive.name], url=self.url)
        with tarfile.open(archive) as opened:
            train, test = _read(opened, _TRAIN), _read(opened, _TEST)
        return Decoded(train, test, len(_CLASSES), _CLASSES)


def _read(archive: TarFile, members: Sequence[str]) -> Part:
    """Read files of records: a byte for the label, then the red, green and blue plane."""
    contents = []
    for member in members:
        stream = archive.extractfile(member)
        assert stream is not None  # noqa: S101  # the archive is the official one
        contents.append(stream.read())
    records = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Part(images, records[:, 0].astype(np.int64))
