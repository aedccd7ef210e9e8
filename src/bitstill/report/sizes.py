"""The three sizes of a model: training checkpoint, float32 weights, deployed."""

from collections.abc import Iterable, Mapping

from bitstill.report.published import HARD_MEBIBYTES, TEACHER_MEBIBYTES
from bitstill.report.sweeps import Run
from bitstill.report.table import Table

KINDS = ("checkpoint", "float32", "deployed")  # bytes, as the recorder counts them
Sizes = Mapping[str, int]  # a model's bytes by kind


def model_sizes(runs: Iterable[Run]) -> dict[str, Sizes]:
    """Return the sizes of the first finished ``teacher`` and the first ``student``.

    Runs of an older bitstill, which did not record all sizes, are left out.
    """
    found: dict[str, Sizes] = {}
    for record in (run.record for run in runs if run.done):
        if record.sizes.keys() >= {*KINDS}:
            found.setdefault(record.model, record.sizes)
    return found


def sizes_table(sizes: Mapping[str, Sizes]) -> Table:
    """Return Table 1's sizes: what was published, and the three that we count."""
    rows = []
    for model, printed in (("teacher", TEACHER_MEBIBYTES), ("student", HARD_MEBIBYTES)):
        counted = sizes.get(model, {})
        numbers = [f"{counted[kind] / 1000:,.1f} kB" if counted else "missing" for kind in KINDS]
        rows.append([model, f"{printed}M", *numbers])
    caption = (
        "The numbers fit if the published 3.43M is the teacher with Adam's two moments and 1.13M "
        "the student's weights alone, at 32 bits (M is MiB, 1,048.6 kB): then the ratio of 3 is "
        "not due to quantization. checkpoint: the file that training resumes from; float32: all "
        "trained numbers at 4 bytes; deployed: a quantized student's packed file, or the float32 "
        "weights of a full-precision network with batch norm folded in."
    )
    header = ("model", "published", *KINDS)
    return Table("sizes", "Table 1: sizes", caption, header, rows)
