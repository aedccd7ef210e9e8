"""The three sizes of a model: training checkpoint, float32 weights, deployed."""

import dataclasses
import json
from dataclasses import dataclass

from bitstill.report.sweeps import Run


@dataclass(frozen=True)
class Sizes:
    """Bytes.

    Attributes:
        checkpoint: what training goes on from, with the optimizer's two moments: the file's size.
        float32: the trained numbers at four bytes each.
        deployed: what inference needs: of a student its packed file; of what has no integer form
            the float32 weights, batch norm folded into the convolutions.
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
    """Return a finished run's sizes; None where an older bitstill did not record them."""
    known = run.record.sizes
    names = [field.name for field in dataclasses.fields(Sizes)]
    return Sizes(**{name: known[name] for name in names}) if known.keys() >= set(names) else None


def model_sizes(runs: list[Run]) -> dict[str, Sizes]:
    """Return the sizes of the first finished ``teacher`` and the first ``student``."""
    found: dict[str, Sizes] = {}
    for run in runs:
        if run.done and run.record.model not in found and (counted := sizes(run)) is not None:
            found[run.record.model] = counted
    return found
