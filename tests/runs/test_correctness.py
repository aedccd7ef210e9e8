"""Per-image results on disk."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import made_up

from bitstill.errors import UserError
from bitstill.runs import RunPaths
from bitstill.runs.correctness import read_correctness, write_correctness


def test_they_read_back_without_the_bits_that_fill_a_byte(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    made_up(images={"test": 11}).write(paths)
    assert read_correctness(paths) == {}
    right = np.arange(11) % 3 == 0
    write_correctness(paths, {"running/last": np.packbits(right)})
    [(name, bits)] = read_correctness(paths).items()
    assert name == "running/last"
    assert bits.tolist() == right.tolist()


def pickled() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{"running/last": np.array([{}])})  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize("content", [b"junk", b"PK\x03\x04junk", pickled(), pickle.dumps([1])])
def test_damaged_results_are_one_line(tmp_path: Path, content: bytes) -> None:
    paths = RunPaths(tmp_path)
    made_up(images={"test": 8}).write(paths)
    paths.correctness.write_bytes(content)
    with pytest.raises(
        UserError, match=r"correctness.npz cannot be read .*: move it away"
    ) as caught:
        read_correctness(paths)
    assert "pickle" not in str(caught.value), "advice of NumPy's that nobody should follow"


def test_what_is_small_on_disk_alone_is_not_unpacked(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    made_up(images={"test": 8}).write(paths)
    np.savez_compressed(paths.correctness, **{"running/last": np.zeros(10**6, np.uint8)})  # type: ignore[arg-type]
    assert paths.correctness.stat().st_size < 10**4
    with pytest.raises(UserError, match=r"it is not of 8 test images"):
        read_correctness(paths)
