"""Where runs compute."""

import logging
from contextlib import nullcontext

import pytest
import torch
from tests.conftest import Configure

from bitstill.errors import UserError
from bitstill.schema import TrainConfig, TrainerConfig
from bitstill.train import run
from bitstill.training.devices import device_name, device_of, has_fast_bf16


def test_bf16_is_no_gain_on_every_processor(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bitstill.training.devices.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: True)
    for capability, fast in (("AVX512", True), ("AVX2", False)):
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda one=capability: one)
        assert has_fast_bf16() is fast
    with caplog.at_level(logging.WARNING, logger="bitstill"):
        assert device_of(TrainerConfig("cpu", "bf16", threads=None)) == torch.device("cpu")
    assert "trainer.precision = bf16: this processor has no instructions for it" in caplog.text


def test_without_onednn_bf16_is_no_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a Mac."""
    monkeypatch.setattr("bitstill.training.devices.platform.machine", lambda: "arm64")
    for built, fast in ((True, True), (False, False)):
        monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda one=built: one)
        assert has_fast_bf16() is fast


def test_a_record_says_which_instructions_torch_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """They decide the last bits of a sum."""
    monkeypatch.setattr("bitstill.training.devices.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    name = device_name(TrainerConfig("cpu", "float32", threads=2))
    assert name in (
        "CPU (x86_64, AVX2), 2 threads, C kernel",
        "CPU (x86_64, AVX2), 2 threads, no C kernel",
    )


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_leaves_the_next_one_its_threads(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """With trainer.threads=null it would end with other bits than alone."""

    def do_run(config: TrainConfig, *_: object, **__: object) -> None:
        device_of(config.trainer)
        assert torch.get_num_threads() == before + 1
        if fails:
            raise UserError("failed")

    before = torch.get_num_threads()
    monkeypatch.setattr("bitstill.train._run", do_run)
    with pytest.raises(UserError) if fails else nullcontext():
        run(configure(None, f"trainer.threads={before + 1}"), "unused")
    assert torch.get_num_threads() == before


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError) as refused:
        device_of(TrainerConfig("gpu", "float32", threads=None))
    assert str(refused.value) == (
        "trainer.accelerator = gpu: no CUDA device is found; give trainer=cpu"
    )
