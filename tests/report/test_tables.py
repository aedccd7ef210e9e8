"""The table of temperature and loss."""

from collections.abc import Callable

from bitstill.report.sweeps import RunSet, View
from bitstill.report.tables import temperature_table


def test_a_row_a_temperature_and_a_column_a_loss(make_set: Callable[..., RunSet]) -> None:
    def percent(loss: str, temperature: float | None, seed: int) -> float:
        return 90.0 if loss == "hard" else 80 + (temperature or 0) / 10

    cells = (("teacher", None), ("hard", 15.0), ("soft", 10.0), ("soft", 15.0))
    runs = make_set(percent, seeds=[0], cells=cells)
    table = temperature_table(runs, View("running", "best_val"))
    assert tuple(table.header) == ("T", "hard", "soft")
    assert [list(row) for row in table.rows] == [["10", "—", "81.0"], ["15", "90.0", "81.5"]]
    assert table.caption.startswith("Test accuracy in %: best val, running batch norm statistics")
