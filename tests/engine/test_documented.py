"""docs/deploy.md describes the file so that it can be read without us: read so here."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from bitstill import load

ROOT = Path(__file__).parents[2]
STUDENT = ROOT / "multirun/svhn-resplit/hard-T15-seed0-a9cdba57f2/student.bitstill"
PAGE = " ".join((ROOT / "docs/deploy.md").read_text().split())
IMAGE = (7 * np.arange(32 * 32 * 3) % 256).astype(np.uint8).reshape(32, 32, 3)


def layers() -> Iterator[tuple[str, int, int, bool]]:
    """Read names, channels and pools off the page."""
    listed = PAGE[PAGE.index("`conv1` 3 to 16") : PAGE.index("Each is a 3 x 3 cross")]
    for name, first, last, pool in re.findall(r"`(\w+)` (\d+) to (\d+)(, max pool)?", listed):
        yield name, int(first), int(last), bool(pool)


def codes(planes: NDArray[np.uint8], outputs: int, inputs: int) -> NDArray[np.int64]:
    bits = np.unpackbits(planes, axis=1, bitorder="little")[:, : outputs * 9 * inputs]
    numbers = np.tensordot(2 ** np.arange(len(bits)), bits.astype(np.int64), axes=1)
    found: NDArray[np.int64] = 2 * numbers - (2 ** len(planes) - 1)
    return found.reshape(outputs, 3, 3, inputs)


def read() -> tuple[list[int], NDArray[np.float32]]:
    """Return how many bits each layer sets, and the logits."""
    tensors = safetensors.numpy.load_file(STUDENT)
    features, start, counts = IMAGE.astype(np.int64), 0, []
    for name, inputs, outputs, pool in layers():
        weights = codes(tensors[f"{name}.planes"], outputs, inputs)
        limits, start = tensors["thresholds"][start : start + outputs], start + outputs
        side, padded = len(features), np.pad(features, ((1, 1), (1, 1), (0, 0)))
        sums = np.zeros((side, side, outputs), np.int64)
        for y in range(3):
            for x in range(3):
                sums += padded[y : y + side, x : x + side] @ weights[:, y, x].T
        features = (sums[..., None] >= limits).sum(axis=-1)
        if pool:
            features = features.reshape(side // 2, 2, side // 2, 2, outputs).max(axis=(1, 3))
        counts.append(int(features.sum()))
    assert start == len(tensors["thresholds"])
    weight, bias = np.split(tensors["classifier"].astype(np.float64), [128], axis=1)
    total = np.zeros(len(weight))
    for count, column in zip(features.sum(axis=(0, 1)), weight.T, strict=True):
        total += count * column
    return counts, (total / 16 + bias[:, 0]).astype(np.float32)


def test_the_page_is_enough_to_read_a_student() -> None:
    counts, logits = read()
    engine = load(STUDENT)
    assert np.array_equal(engine.logits(IMAGE[None])[0], logits)
    assert [int(one.sum()) for one in engine.levels(IMAGE)] == counts


def test_the_example_on_the_page_is_true() -> None:
    counts, logits = read()
    said = re.search(r"256, has ([\d, ]+) set bits .* logits ([-\d., ]+): class (\d)", PAGE)
    assert said is not None
    assert [int(one) for one in said[1].split(", ")] == counts
    assert np.array_equal(np.array(said[2].split(", "), np.float32), logits)
    assert int(said[3]) == logits.argmax()
