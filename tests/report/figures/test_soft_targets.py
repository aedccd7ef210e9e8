"""How soft a teacher's targets are."""

import numpy as np
import pytest

from bitstill.report.figures.soft_targets import _sharpness


def test_soft_targets_go_from_labels_to_uniform() -> None:
    rows = _sharpness(np.array([[40.0, 0.0, 0.0, 0.0], [0.0, 40.0, 0.0, 0.0]]))
    entropy = [float(row["value"] or 0) for row in rows if str(row["measure"]).startswith("ent")]
    largest = [float(row["value"] or 0) for row in rows if str(row["measure"]).startswith("larg")]
    assert entropy == sorted(entropy)
    assert largest == sorted(largest, reverse=True)
    assert entropy[0] == pytest.approx(0, abs=1e-6)
    assert largest[0] == pytest.approx(1)
    assert largest[-1] == pytest.approx(np.exp(0.2) / (np.exp(0.2) + 3))  # T = 200
