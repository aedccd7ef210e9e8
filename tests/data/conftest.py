"""Made-up sources, small enough to decode in a moment."""

import functools
import http.server
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from numpy.typing import NDArray
from PIL import Image
from tests.pictures import encoded

from bitstill.data.svhn import MD5


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Offer the files of a folder at an address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """What every source needs, with a cache of its own."""
    return {"val_fraction": 0.25, "split_seed": 0, "cache": str(tmp_path / "cache")}


@pytest.fixture
def pictures() -> NDArray[np.uint8]:
    """Twelve noisy pictures, shape (12, 32, 32, 3)."""
    return np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def write_parquet() -> Callable[..., Path]:
    def write(
        file: Path,
        images: Sequence[bytes | None],
        labels: Sequence[int | None],
        image: str = "image",
        label: str = "label",
    ) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        encoded = [{"bytes": one, "path": f"{row}.png"} for row, one in enumerate(images)]
        struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        columns = {image: pa.array(encoded, struct), label: pa.array(labels, pa.int64())}
        pq.write_table(pa.table(columns), file)
        return file

    return write


@pytest.fixture
def parquet_folder(
    tmp_path: Path, write_parquet: Callable[..., Path], pictures: NDArray[np.uint8]
) -> Path:
    """Eight training and four test pictures, three classes."""
    folder = tmp_path / "parquet"
    images = [encoded(Image.fromarray(picture)) for picture in pictures]
    labels = [row % 3 for row in range(12)]
    write_parquet(folder / "train-00000-of-00001.parquet", images[:8], labels[:8])
    write_parquet(folder / "test-00000-of-00001.parquet", images[8:], labels[8:])
    return folder


@pytest.fixture(params=["svhn", pytest.param("cifar10", marks=pytest.mark.slow)])
def image_folder(request: pytest.FixtureRequest, parquet_folder: Path) -> Path:
    """Real images in the folder that BITSTILL_TEST_DATA names; made-up ones without it."""
    real = Path(os.environ.get("BITSTILL_TEST_DATA", "/nowhere")) / request.param
    return real if real.is_dir() else parquet_folder


@pytest.fixture
def write_mat(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a `.mat` file and makes its MD5 the known one."""
    import hashlib

    def write(file: Path, **arrays: Any) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(file, arrays)
        found = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(MD5, file.name, found)
        return file

    return write


@pytest.fixture
def svhn_folder(
    tmp_path: Path, write_mat: Callable[..., Path], pictures: NDArray[np.uint8]
) -> Path:
    """Ten pictures with the labels 1..10 in train, two in test and three in extra."""
    folder = tmp_path / "svhn"
    stored = pictures.transpose(1, 2, 3, 0)
    ten = np.arange(1, 11, dtype=np.uint8)[:, None]
    write_mat(folder / "train_32x32.mat", X=stored[..., :10], y=ten)
    write_mat(folder / "test_32x32.mat", X=stored[..., 10:], y=ten[8:])
    write_mat(folder / "extra_32x32.mat", X=stored[..., :3], y=ten[:3])
    return folder
