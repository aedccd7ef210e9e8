"""Street View House Numbers, format 2: the published study's images, in their official split."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitstill.data.source import Decoded, ImageSource, Part
from bitstill.errors import UserError, one_line
from bitstill.files import at_home, locked

TRAIN, TEST, EXTRA = "train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"
MD5 = {
    TRAIN: "e26dedcc434d2e4c54c9b2d4a06d8373",
    TEST: "eb5a983be6a315427106f1b164d9cef3",
    EXTRA: "a93ce644f1a588dc4d68dda5feec44a7",
}
_CHUNK_BYTES = 1 << 16
_TIMEOUT_SECONDS = 30


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

    path: str
    url: str
    extra: bool
    download: bool

    def _locate(self) -> Sequence[Path]:
        names = [TRAIN, *([EXTRA] if self.extra else []), TEST]
        files = [at_home(self.path, name="data.path") / name for name in names]
        missing = [file for file in files if not file.is_file()]
        if missing and not self.download:
            listed = ", ".join(f"{file.name} (MD5 {MD5[file.name]})" for file in missing)
            raise UserError(
                f"data.path={self.path} lacks {listed}: set data.download=true, or put there what "
                f"{self.url} offers under that name"
            )
        for file in missing:
            _download(file, url=f"{self.url.rstrip('/')}/{file.name}")
        return files

    def _decode(self, files: Sequence[Path]) -> Decoded:
        *train, test = [_read(file, url=self.url) for file in files]
        # Joined straight into its final place: an intermediate copy of `extra` would take 1.6 GB.
        images = np.empty((sum(len(part.labels) for part in train), 32, 32, 3), np.uint8)
        np.concatenate([part.images for part in train], out=images)
        labels = np.concatenate([part.labels for part in train])
        return Decoded(train=Part(images, labels), test=test, classes=10)


def _download(file: Path, *, url: str) -> None:
    """Fetch one file; it appears under its name only if it is complete and its MD5 is right."""
    import pooch

    # A bar only in a terminal: in a log file it would be a thousand lines.
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_SECONDS
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked(file.with_name(f".{file.name}.lock")):
            if file.is_file():  # another process has downloaded it
                return
            pooch.retrieve(
                url,
                known_hash=f"md5:{MD5[file.name]}",
                fname=file.name,
                path=file.parent,
                downloader=downloader,
            )
            _make_public(file)  # the folder may be shared
    except (OSError, ValueError) as error:  # network, HTTP status, permissions; a wrong MD5
        raise UserError(
            f"data.download=true: {url} could not be downloaded ({one_line(error)}): try again "
            f"later, or put the file at {file} by other means (MD5 {MD5[file.name]})"
        ) from error


def _make_public(file: Path) -> None:
    """Give a file the permissions of any new file; pooch's are private."""
    mask = os.umask(0)
    os.umask(mask)
    file.chmod(0o666 & ~mask)


def _read(file: Path, *, url: str) -> Part:
    """One `.mat` file; its images are a view, channels last, with scattered strides.

    Only the authors' own bytes are read: X, uint8 (32, 32, 3, N), and y, (N, 1), with 10 for 0.
    """
    import scipy.io

    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as error:
        raise UserError(f"data.path: {file} cannot be read ({error}): get it from {url}") from error
    if found.hexdigest() != MD5[file.name]:
        raise UserError(
            f"data.path: {file} has MD5 {found.hexdigest()}, expected {MD5[file.name]}: move "
            f"it away (it is never overwritten) and set data.download=true, or get it from {url}"
        )
    content = scipy.io.loadmat(file, variable_names=["X", "y"])
    labels = content["y"][:, 0].astype(np.int64) % 10
    return Part(content["X"].transpose(3, 0, 1, 2), labels)
