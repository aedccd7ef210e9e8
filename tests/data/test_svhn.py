import http.server
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.data.conftest import serving

from bitstill.data import Svhn
from bitstill.data.svhn import EXTRA, MD5, TEST, TRAIN
from bitstill.errors import UserError


@pytest.fixture
def svhn(options: dict[str, Any], svhn_folder: Path) -> Callable[..., Svhn]:
    chosen = options | {"url": "http://127.0.0.1:9/", "extra": False, "download": False}

    def make(**changes: Any) -> Svhn:
        return Svhn(**(chosen | {"path": str(svhn_folder), "val_fraction": 0.0} | changes))

    return make


@pytest.fixture
def served(svhn_folder: Path) -> Iterator[str]:
    """The address of a server that offers the made-up files."""
    with serving(svhn_folder) as url:
        yield url


def test_layout_and_labels(svhn: Callable[..., Svhn], pictures: NDArray[np.uint8]) -> None:
    data = svhn().load()
    assert np.array_equal(data.train.images.numpy(), pictures[:10])
    assert data.train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert data.train.labels.dtype == torch.int64
    assert np.array_equal(data.test.images.numpy(), pictures[10:])
    assert data.test.labels.tolist() == [9, 0]
    assert data.classes == 10


def test_extra_is_appended(svhn: Callable[..., Svhn], pictures: NDArray[np.uint8]) -> None:
    data = svhn(extra=True).load()
    assert np.array_equal(data.train.images[10:].numpy(), pictures[:3])
    assert data.train.labels[10:].tolist() == [1, 2, 3]
    assert svhn(extra=True).identity() != svhn().identity()


def test_extra_is_not_needed(svhn: Callable[..., Svhn], svhn_folder: Path) -> None:
    (svhn_folder / EXTRA).unlink()
    assert len(svhn().load().train) == 10
    with pytest.raises(UserError, match=r"lacks extra_32x32.mat \(MD5 \w{32}\): set data.download"):
        svhn(extra=True).load()


def test_missing_files_are_named(svhn: Callable[..., Svhn], tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        svhn(path=str(tmp_path / "none")).identity()
    assert str(refused.value) == (
        f"data.path={tmp_path}/none lacks train_32x32.mat (MD5 {MD5[TRAIN]}), test_32x32.mat (MD5 "
        f"{MD5[TEST]}): set data.download=true, or put there what http://127.0.0.1:9/ offers under "
        f"that name"
    )


@pytest.mark.parametrize("download", [True, False])
def test_altered_file_is_refused_and_kept(
    svhn: Callable[..., Svhn], svhn_folder: Path, download: bool
) -> None:
    (svhn_folder / TRAIN).write_bytes(b"mine")
    expected = rf"^data.path: \S+/{TRAIN} has MD5 \w{{32}}, expected {MD5[TRAIN]}: move it away"
    with pytest.raises(UserError, match=expected):
        svhn(download=download).identity()
    assert (svhn_folder / TRAIN).read_bytes() == b"mine"


def test_unreadable_file_is_refused(svhn: Callable[..., Svhn], svhn_folder: Path) -> None:
    (svhn_folder / TRAIN).unlink()
    (svhn_folder / TRAIN).symlink_to("/proc/self/mem")
    with pytest.raises(UserError, match=rf"^data.path: \S+/{TRAIN} cannot be read \(.+\): get"):
        svhn().identity()


def test_download(svhn: Callable[..., Svhn], served: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    data = svhn(path=str(folder), url=served, download=True).load()
    assert data.identity == svhn().identity()
    assert {file.name for file in folder.glob("*")} - {f".{TRAIN}.lock", f".{TEST}.lock"} == {
        TRAIN,
        TEST,
    }
    usual = tmp_path / "usual"
    usual.touch()
    assert (folder / TRAIN).stat().st_mode == usual.stat().st_mode, "others may read it"


@pytest.mark.parametrize("watched", [True, False])
def test_download_shows_progress_to_who_watches(
    svhn: Callable[..., Svhn],
    served: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    watched: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: watched)
    svhn(path=str(tmp_path / "new"), url=served + "/", download=True).identity()
    assert ("100%" in capsys.readouterr().err) == watched


def test_only_missing_files_are_downloaded(
    svhn: Callable[..., Svhn], served: str, tmp_path: Path, svhn_folder: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    os.link(svhn_folder / TRAIN, folder / TRAIN)
    svhn(path=str(folder), url=served, download=True).identity()
    assert (folder / TRAIN).samefile(svhn_folder / TRAIN)


def test_what_another_process_has_downloaded_is_not_downloaded_again(
    svhn: Callable[..., Svhn],
    svhn_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def after_another(lock: Path) -> Iterator[None]:
        file = lock.with_name(lock.name[1:].removesuffix(".lock"))
        shutil.copy(svhn_folder / file.name, file)
        file.chmod(0o400)  # another user's, it cannot be given other rights
        yield

    monkeypatch.setattr("bitstill.data.official.locked", after_another)
    svhn(path=str(tmp_path), download=True).identity()  # from where there is no server
    assert stat.S_IMODE((tmp_path / TRAIN).stat().st_mode) == 0o400


def test_corrupted_download_is_refused_and_not_kept(
    svhn: Callable[..., Svhn], served: str, svhn_folder: Path, tmp_path: Path
) -> None:
    (svhn_folder / TRAIN).write_bytes(b"altered on the server")
    with pytest.raises(UserError, match=rf"^data.download=true: {served}/{TRAIN} .*{MD5[TRAIN]}"):
        svhn(path=str(tmp_path / "new"), url=served, download=True).identity()
    assert [file.name for file in (tmp_path / "new").iterdir()] == [f".{TRAIN}.lock"]


def test_interrupted_download_is_refused_and_not_kept(
    svhn: Callable[..., Svhn], tmp_path: Path
) -> None:
    class Breaks(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(bytes(1000))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Breaks) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(UserError, match=rf"^data.download=true: {url}/{TRAIN} could not be"):
            svhn(path=str(tmp_path / "new"), url=url, download=True).identity()
        thread.join()
    assert [file.name for file in (tmp_path / "new").iterdir()] == [f".{TRAIN}.lock"]


def test_file_that_the_server_lacks(
    svhn: Callable[..., Svhn], served: str, svhn_folder: Path, tmp_path: Path
) -> None:
    (svhn_folder / TEST).unlink()
    with pytest.raises(UserError, match=rf"^data.download=true: {served}/{TEST} .*\(404 .*MD5"):
        svhn(path=str(tmp_path / "new"), url=served, download=True).identity()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "ftp://x"])
def test_without_network_one_line_says_what_to_do(
    svhn: Callable[..., Svhn], tmp_path: Path, url: str
) -> None:
    with pytest.raises(UserError) as refused:
        svhn(path=str(tmp_path), url=url, download=True).identity()
    message = str(refused.value)
    assert message.startswith(f"data.download=true: {url}/{TRAIN} could not be downloaded (")
    assert message.endswith(f"put the file at {tmp_path}/{TRAIN} by other means (MD5 {MD5[TRAIN]})")
    assert "\n" not in message
    assert not (tmp_path / TRAIN).exists()


def test_folder_that_cannot_be_made(svhn: Callable[..., Svhn], served: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"^data.download=true: .* could not be downloaded \(.*file"
    ):
        svhn(path=str(tmp_path / "file"), url=served, download=True).identity()
