"""Street View House Numbers, format 2: the published study's images, in their official split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitstill.data.official import check_md5, official_files
from bitstill.data.source import Decoded, ImageSource, Part

TRAIN, TEST, EXTRA = "train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"
MD5 = {
    TRAIN: "e26dedcc434d2e4c54c9b2d4a06d8373",
    TEST: "eb5a983be6a315427106f1b164d9cef3",
    EXTRA: "a93ce644f1a588dc4d68dda5feec44a7",
}


@dataclass(frozen=True, kw_only=True)
class Svhn(ImageSource):
    """The official `.mat` files of 32x32 crops: 73,257 to train on, 26,032 to test on.

    The files are checked against their MD5 when they are decoded, and never overwritten.

    Source: Y. Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning,
    2011. For non-commercial use only.

    Attributes:
        path: the folder of the files; may begin with `~`.
        url: where they are downloaded from, without the file name.
        extra: whether to train on the 531,131 easier digits of `extra_32x32.mat` as well.
        download: whether missing files may be downloaded.
    """

    val_fraction: float
    path: str
    url: str
    extra: bool
    download: bool

    def _locate(self) -> Sequence[Path]:
        names = [TRAIN, *([EXTRA] if self.extra else []), TEST]
        md5 = {name: MD5[name] for name in names}
        return official_files(self.path, md5, url=self.url, download=self.download)

    def _decode(self, files: Sequence[Path]) -> Decoded:
        *train, test = [_read(file, url=self.url) for file in files]
        # Joined straight into its final place: an intermediate copy of `extra` would take 1.6 GB.
        images = np.empty((sum(len(part.labels) for part in train), 32, 32, 3), np.uint8)
        np.concatenate([part.images for part in train], out=images)
        labels = np.concatenate([part.labels for part in train])
        return Decoded(train=Part(images, labels), test=test, classes=10)


def _read(file: Path, *, url: str) -> Part:
    """One `.mat` file; its images are a view, channels last, with scattered strides.

    Only the authors' own bytes are read: X, uint8 (32, 32, 3, N), and y, (N, 1), with 10 for 0.
    """
    import scipy.io

    check_md5(file, MD5[file.name], url=url)
    content = scipy.io.loadmat(file, variable_names=["X", "y"])
    labels = content["y"][:, 0].astype(np.int64) % 10
    return Part(content["X"].transpose(3, 0, 1, 2), labels)
