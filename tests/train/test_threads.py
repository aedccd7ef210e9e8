"""Runs in threads of one process, as a notebook may have them."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Configure

import bitstill.train
from bitstill.models import Network
from bitstill.runs import RunPaths


@pytest.mark.usefixtures("restored")
def test_a_run_beside_another_has_the_weights_that_it_has_alone(
    configure: Configure,
    few_images: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = bitstill.train.build_network

    def slowly(*arguments: Any, **options: Any) -> Network:
        time.sleep(0.3)  # the other run begins
        return build(*arguments, **options)

    def weights(run: tuple[int, str]) -> bytes:
        seed, name = run
        config = configure(tmp_path, *few_images, "loss=hard", f"seed={seed}")
        bitstill.train.run(config, tmp_path / name)
        return RunPaths(tmp_path / name).weights.read_bytes()

    monkeypatch.setattr(bitstill.train, "build_network", slowly)
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(weights, [(1, "one"), (2, "two")]))
    assert together == [weights((1, "one-alone")), weights((2, "two-alone"))]
