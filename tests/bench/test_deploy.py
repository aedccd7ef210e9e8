"""The benchmark says what it should; how fast things are is not tested."""

import json

import pytest
from bitstill.deploy.bench import BATCHES, YARDSTICK, as_json, as_table, bench


@pytest.mark.slow
def test_the_report() -> None:
    report = bench(rounds=3, threads=(1,))
    assert report.equal
    assert report.sizes["packed"] <= 80_000
    parsed = json.loads(as_json(report))
    assert {one["batch"] for one in parsed["timings"]} == set(BATCHES)
    assert {one["runtime"] for one in parsed["timings"]} >= {YARDSTICK, "onnxruntime int8", "numba"}
    for one in report.timings:
        low, middle, high = one.speedup
        assert 0 < low <= middle <= high
    table = as_table(report)
    assert "| 1 | 256 | numba |" in table
    assert "the same classes from every runtime of the student: yes" in table
