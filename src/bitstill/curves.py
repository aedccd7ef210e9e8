"""What a run measured, a row an epoch, and which epochs are selected."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from bitstill.files import write_atomically
from bitstill.reading import reading
from bitstill.runs import Row, RunPaths


def under(name: str, statistics: str) -> str:
    """Return the name of what a kind of batch norm statistics gives; the published one's is plain.

    >>> under("test/accuracy", "running"), under("test/accuracy", "precise")
    ('test/accuracy', 'test/accuracy_precise')
    """
    return name if statistics == "running" else f"{name}_{statistics}"


def write_curves(paths: RunPaths, rows: Sequence[Mapping[str, float]]) -> None:
    """Write ``metrics.csv``, atomically; numbers in full, so that they read back the same."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(paths.metrics, text.getvalue().encode())


def read_curves(paths: RunPaths) -> list[Row]:
    """Read ``metrics.csv``: a row an epoch.

    Raises:
        UserError: it is damaged.
    """
    with reading(paths.metrics, "move it away"), paths.metrics.open(newline="") as file:
        return [
            {name: float(text) for name, text in row.items() if text}
            for row in csv.DictReader(file)
        ]


def _accuracies(row: Row, statistics: str) -> Iterator[tuple[str, float]]:
    for name in ("val/accuracy", "test/accuracy"):
        if (column := under(name, statistics)) in row:
            yield name, row[column]


def select(rows: Sequence[Row], statistics: Sequence[str]) -> dict[str, dict[str, Row | None]]:
    """Choose the three epochs of a run, for each kind of batch norm statistics.

    Of equal accuracies the first epoch is chosen. Without validation images ``best_val`` is None.
    """
    chosen: dict[str, dict[str, Row | None]] = {}
    for kind in statistics:

        def at(row: Row, kind: str = kind) -> Row:
            return {"epoch": row["epoch"], **dict(_accuracies(row, kind))}

        def best(split: str, kind: str = kind) -> Row | None:
            column = under(f"{split}/accuracy", kind)
            rated = [row for row in rows if column in row]
            return at(max(rated, key=lambda row: row[column]), kind) if rated else None

        chosen[kind] = {"last": at(rows[-1]), "best_val": best("val"), "best_test": best("test")}
    return chosen
