"""A run's measurements, one row per epoch, and the choice of epochs."""

import csv
import io
import math
from collections.abc import Mapping, Sequence

from bitstill.files import write_atomically
from bitstill.reading import reading
from bitstill.runs.paths import RunPaths
from bitstill.runs.record import Row, has_fractions

_VAL, _TEST = "val/accuracy", "test/accuracy"


def under(name: str, statistics: str) -> str:
    """Return a metric's name under one kind of batch norm statistics; ``running`` has no suffix.

    >>> under("test/accuracy", "running"), under("test/accuracy", "precise")
    ('test/accuracy', 'test/accuracy_precise')
    """
    return name if statistics == "running" else f"{name}_{statistics}"


def write_curves(paths: RunPaths, rows: Sequence[Mapping[str, float]]) -> None:
    """Write ``metrics.csv`` atomically, with enough digits to read the same numbers back."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(paths.metrics, text.getvalue().encode())


def read_curves(paths: RunPaths) -> list[Row]:
    """Read ``metrics.csv``: one row per epoch.

    Raises:
        UserError: the file is damaged.
    """
    with reading(paths.metrics, "move it away"), paths.metrics.open(newline="") as file:
        rows = [
            {name: float(text) for name, text in row.items() if text}
            for row in csv.DictReader(file)
        ]
        if not all(1 <= row.get("epoch", 0) < math.inf and has_fractions(row) for row in rows):
            raise ValueError("a row in it is no epoch's")
        return rows


def select(rows: Sequence[Row], statistics: Sequence[str]) -> dict[str, dict[str, Row | None]]:
    """Choose the three epochs of a run, for each kind of batch norm statistics.

    Of equal accuracies the first epoch is chosen. Without validation images ``best_val`` is None.
    """
    return {
        kind: {
            "last": _accuracies(rows[-1], kind),
            "best_val": _best(rows, _VAL, kind),
            "best_test": _best(rows, _TEST, kind),
        }
        for kind in statistics
    }


def _best(rows: Sequence[Row], name: str, statistics: str) -> Row | None:
    column = under(name, statistics)
    rated = [row for row in rows if column in row]
    best = max(rated, key=lambda row: row[column], default=None)
    return None if best is None else _accuracies(best, statistics)


def _accuracies(row: Row, statistics: str) -> Row:
    """Return an epoch's number and its accuracies under one kind of statistics, without suffix."""
    columns = {name: under(name, statistics) for name in (_VAL, _TEST)}
    found = {name: row[column] for name, column in columns.items() if column in row}
    return {"epoch": row["epoch"], **found}
