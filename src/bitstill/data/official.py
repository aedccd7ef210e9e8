"""Files of a data set's authors: downloaded if they are missing, and checked by their MD5."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from bitstill.errors import UserError, one_line
from bitstill.files import at_home, locked

_CHUNK_BYTES = 1 << 16
_TIMEOUT_SECONDS = 30


def official_files(folder: str, md5: Mapping[str, str], *, url: str, download: bool) -> list[Path]:
    """Return where files are, after downloading those that are missing.

    Args:
        folder: for the files; may begin with `~`.
        md5: that of each file, in hexadecimal, by its name.
        url: where they are downloaded from, without the file name.
        download: whether they may be.

    Raises:
        UserError: a file is missing, and may not or could not be downloaded.
    """
    files = {name: at_home(folder, name="data.path") / name for name in md5}
    missing = [name for name, file in files.items() if not file.is_file()]
    if missing and not download:
        listed = ", ".join(f"{name} (MD5 {md5[name]})" for name in missing)
        raise UserError(
            f"data.path={folder} lacks {listed}: set data.download=true, or put there what "
            f"{url} offers under that name"
        )
    for name in missing:
        _download(files[name], url=f"{url.rstrip('/')}/{name}", md5=md5[name])
    return list(files.values())


def _download(file: Path, *, url: str, md5: str) -> None:
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
                known_hash=f"md5:{md5}",
                fname=file.name,
                path=file.parent,
                downloader=downloader,
            )
            _make_public(file)  # the folder may be shared
    except (OSError, ValueError) as error:  # network, HTTP status, permissions; a wrong MD5
        raise UserError(
            f"data.download=true: {url} could not be downloaded ({one_line(error)}): try again "
            f"later, or put the file at {file} by other means (MD5 {md5})"
        ) from error


def _make_public(file: Path) -> None:
    """Give a file the permissions of any new file; pooch's are private."""
    mask = os.umask(0)
    os.umask(mask)
    file.chmod(0o666 & ~mask)


def check_md5(file: Path, md5: str, *, url: str) -> None:
    """Refuse a file that is not the authors' own, so that no other is ever decoded.

    Raises:
        UserError: it is another, or cannot be read.
    """
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as error:
        raise UserError(f"data.path: {file} cannot be read ({error}): get it from {url}") from error
    if found.hexdigest() != md5:
        raise UserError(
            f"data.path: {file} has MD5 {found.hexdigest()}, expected {md5}: move it away (it is "
            f"never overwritten) and set data.download=true, or get it from {url}"
        )
