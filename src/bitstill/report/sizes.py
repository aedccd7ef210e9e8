"""The three sizes of a model: training checkpoint, float32 weights, deployed."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bitstill.report.published import HARD_MEBIBYTES, TEACHER_MEBIBYTES
from bitstill.report.sweeps import Run
from bitstill.report.table import Table


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


def model_sizes(runs: Iterable[Run]) -> dict[str, Sizes]:
    """Return the sizes of the first finished ``teacher`` and the first ``student``."""
    found: dict[str, Sizes] = {}
    for run in runs:
        if run.done and run.record.model not in found and (counted := _recorded(run)) is not None:
            found[run.record.model] = counted
    return found


def _recorded(run: Run) -> Sizes | None:
    """Return a finished run's sizes; None where an older bitstill did not record them."""
    known = run.record.sizes
    names = [field.name for field in dataclasses.fields(Sizes)]
    return Sizes(**{name: known[name] for name in names}) if known.keys() >= set(names) else None


def sizes_table(sizes: Mapping[str, Sizes]) -> Table:
    """Return Table 1's sizes: what was published, and the three that we count."""
    rows = []
    for model, printed in (("teacher", TEACHER_MEBIBYTES), ("student", HARD_MEBIBYTES)):
        counted = sizes.get(model)
        bytes_ = () if counted is None else dataclasses.astuple(counted)
        numbers = [f"{one / 1000:,.1f} kB" for one in bytes_] or ["missing"] * 3
        rows.append([model, f"{printed}M", *numbers])
    caption = (
        "The published 3.43M is the teacher with Adam's two moments, 1.13M the student's 32-bit "
        "weights alone (M is MiB, 1,048.6 kB): their ratio of 3 owes nothing to quantization. "
        "checkpoint: what training goes on from, the file; float32: trained numbers at 4 bytes; "
        "deployed: a quantized student's packed file; of a network in full precision the float32 "
        "weights with batch norm folded into them."
    )
    header = ("model", "published", "checkpoint", "float32", "deployed")
    return Table("sizes", "Table 1: sizes", caption, header, rows)
