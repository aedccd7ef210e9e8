"""The test images that a run classifies correctly, as bits, by ``<statistics>/<selection>``."""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bitstill.files import write_atomically
from bitstill.reading import reading
from bitstill.runs.paths import RunPaths
from bitstill.runs.record import read_record

_HEADER = 4096  # bytes: much more than the header of an array takes


def write_correctness(paths: RunPaths, packed: Mapping[str, NDArray[np.uint8]]) -> None:
    """Write ``correctness.npz`` atomically, with bits packed into bytes."""
    content = io.BytesIO()
    np.savez(content, **packed)  # type: ignore[arg-type]  # they are arrays
    write_atomically(paths.correctness, content.getvalue())


def read_correctness(paths: RunPaths) -> dict[str, NDArray[np.bool_]]:
    """Read which test images are classified correctly; empty if there is no file.

    The bits fill whole bytes, so the number of images is taken from the record.

    Raises:
        UserError: the file is damaged.
    """
    record = read_record(paths)
    if record is None or not paths.correctness.exists():
        return {}
    with (
        reading(paths.correctness, "move it away"),
        paths.correctness.open("rb") as file,  # np.load itself would leave a damaged file open
        np.load(file, allow_pickle=False) as packed,
    ):
        count = record.images["test"]
        # Checked before unpacking: a megabyte may expand to gigabytes.
        if any(one.file_size > count + _HEADER for one in packed.zip.infolist()):
            raise ValueError(f"it is not of {count} test images")
        bits = {name: packed[name] for name in packed.files}
        if any(one.shape != (-(-count // 8),) for one in bits.values()):
            raise ValueError(f"it is not of {count} test images")
        return {
            name: np.unpackbits(one, count=count).astype(np.bool_) for name, one in bits.items()
        }
