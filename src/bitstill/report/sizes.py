"""The three sizes of a model: training checkpoint, float32 weights, deployed."""

import json
import math
from dataclasses import dataclass

from bitstill.report.sweeps import TEACHER, Run

_FLOAT = 4
_TRAINED = ("conv.weight", "conv.bias", "norm.weight", "norm.bias", "gain", "offset")


@dataclass(frozen=True)
class Sizes:
    """Bytes.

    Attributes:
        checkpoint: what training goes on from, with the optimizer's two moments: the file's size.
        float32: the trained numbers at four bytes each, counted from the weights' file.
        deployed: what inference needs, counted from the shapes there: packed weight codes, a
            threshold a channel and the float32 last layer for a student; convolutions with batch
            norm folded in, and the last layer, for a teacher.
    """

    checkpoint: int
    float32: int
    deployed: int


def shapes(run: Run) -> dict[str, list[int]]:
    """Read the shapes in a run's weights, by name, without reading the weights.

    The header of a safetensors file: its length in 8 bytes, little-endian, then JSON.
    """
    with run.paths.weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def sizes(run: Run) -> Sizes | None:
    """Count a finished run's sizes; None where its weights are not there."""
    if not run.paths.weights.exists() or "checkpoint" not in run.record.sizes:
        return None
    counts = {name: math.prod(shape) for name, shape in shapes(run).items()}
    trained = sum(
        count
        for name, count in counts.items()
        if not name.startswith("precise.")
        and (name.startswith("classifier.") or name.endswith(_TRAINED))
    )
    convolutions = sum(count for name, count in counts.items() if name.endswith("conv.weight"))
    channels = sum(count for name, count in counts.items() if name.endswith("conv.bias"))
    classifier = sum(count for name, count in counts.items() if name.startswith("classifier."))
    bits = None
    if run.record.model != TEACHER:
        bits = run.record.config["quantizer"]["weight_bits"]
    packed = _FLOAT * convolutions if bits is None else math.ceil(convolutions * bits / 8)
    return Sizes(
        checkpoint=run.record.sizes["checkpoint"],
        float32=_FLOAT * trained,
        deployed=packed + _FLOAT * (channels + classifier),
    )


def model_sizes(runs: list[Run]) -> dict[str, Sizes]:
    """Return the sizes of the first finished ``teacher`` and the first ``student``."""
    found: dict[str, Sizes] = {}
    for run in runs:
        if run.done and run.record.model not in found and (counted := sizes(run)) is not None:
            found[run.record.model] = counted
    return found
