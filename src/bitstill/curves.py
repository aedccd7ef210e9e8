"""What a run measured, a row an epoch, and which epochs are selected."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from bitstill.files import write_atomically
from bitstill.reading import reading
from bitstill.runs import Row, RunPaths


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


def _accuracies(row: Row, suffix: str) -> Iterator[tuple[str, float]]:
    for split in ("val", "test"):
        name = f"{split}/accuracy"
        if name + suffix in row:
            yield name, row[name + suffix]


def select(rows: Sequence[Row], statistics: Sequence[str]) -> dict[str, dict[str, Row | None]]:
    """Choose the three epochs of a run, for each kind of batch norm statistics.

    Of equal accuracies the first epoch is chosen. Without validation images ``best_val`` is None.
    """
    chosen: dict[str, dict[str, Row | None]] = {}
    for kind in statistics:
        suffix = "" if kind == "running" else f"_{kind}"

        def at(row: Row, suffix: str = suffix) -> Row:
            return {"epoch": row["epoch"], **dict(_accuracies(row, suffix))}

        def best(name: str, suffix: str = suffix) -> Row | None:
            column = f"{name}/accuracy{suffix}"
            rated = [row for row in rows if column in row]
            return at(max(rated, key=lambda row: row[column]), suffix) if rated else None

        chosen[kind] = {"last": at(rows[-1]), "best_val": best("val"), "best_test": best("test")}
    return chosen
