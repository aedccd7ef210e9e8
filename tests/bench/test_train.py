"""The yardstick computes what bitstill does, and the benchmarks run; speed is not tested."""

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.students import random_images, random_student

from bitstill.bench import plain, sweep
from bitstill.bench.paired import as_table
from bitstill.bench.plain import YARDSTICK, load_plain
from bitstill.bench.train import CONVOLUTIONS, bench
from bitstill.errors import UserError
from bitstill.models import to_input
from bitstill.quantizers import Quantizer


def test_the_yardstick_is_the_same_network() -> None:
    """Code of its own: so this compares two implementations of the student."""
    student = random_student(3, Quantizer()).eval()
    other = load_plain().network(quantized=True).eval()
    names = []
    for name in student.blocks:
        names += [f"blocks.{name}.conv.weight", f"blocks.{name}.conv.bias"]
        names += [f"blocks.{name}.norm.{one}" for one in ("running_mean", "running_var")]
        names += [f"blocks.{name}.norm.num_batches_tracked"]
        names += [f"blocks.{name}.gain", f"blocks.{name}.offset"]
    names += ["classifier.weight", "classifier.bias"]
    ours, theirs = student.state_dict(), other.state_dict()
    copied = {
        key: ours[name].reshape(value.shape)
        for name, (key, value) in zip(names, theirs.items(), strict=True)
    }
    other.load_state_dict(copied)
    images = to_input(random_images(20))
    with torch.no_grad():
        logits, others = student(images), other(images)
    assert logits.std(dim=0).min() > 0.01  # or else whatever they make of an image would do
    agree = (logits - others).abs().amax(dim=1) < 1e-4
    assert agree.float().mean() > 0.9  # what rounds at a threshold may differ


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the yardstick is as most people write it
def test_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = bench(rounds=1, batch_size=4, threads=1)
    subjects = [one.subject for one in report.timings]
    assert subjects[0] == YARDSTICK
    assert subjects[-1] == CONVOLUTIONS
    assert {"bitstill, float32", "bitstill, bf16"} <= set(subjects)
    assert all(math.isfinite(one.seconds[1]) and one.seconds[1] > 0 for one in report.timings)
    assert "speed of float32 against torch's convolutions alone: " in as_table(report)
    assert re.search(r"what Lightning takes of it: -?\d\.\d\d ms, -?\d+\.\d%", as_table(report))
    assert not list(tmp_path.iterdir())


def test_an_installed_bitstill_has_no_yardstick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "conf_directory", lambda: tmp_path / "bitstill" / "conf")
    with pytest.raises(UserError, match=r"benchmarks/plain\.py, .* run them in a checkout"):
        load_plain()


def test_a_sweep_that_fails_is_no_measurement() -> None:
    with pytest.raises(UserError, match="failed: out of luck"):
        sweep._seconds([sys.executable, "-c", "raise SystemExit('out of luck')"])
    assert 0 < sweep._seconds([sys.executable, "-c", ""]) < 60


def test_sweeps_are_compared_over_as_many_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []

    def seconds(command: Sequence[str]) -> float:
        commands.append(command)
        return float(len(commands))

    monkeypatch.setattr(sweep, "_seconds", seconds)
    report = sweep.bench(rounds=1, epochs=3)
    plain, ours = commands
    assert {"--epochs=3", "--batch-size=32"} < set(plain)
    assert {"schedule.epochs=3", "schedule.batch_size=32"} < set(ours)
    assert [one.speedup[1] for one in report.timings] == [1, 0.5]
    assert report.timings[0].settings["epochs"] == 3
