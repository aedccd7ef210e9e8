"""What torch is told before a run."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils import deterministic

from bitstill.training.determinism import compute_deterministically


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    mode = torch.get_deterministic_debug_mode()
    monkeypatch.setattr(deterministic, "fill_uninitialized_memory", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.backends.cuda.matmul.allow_tf32 = True  # by default it is not
    with torch.backends.nnpack.flags(enabled=True):
        yield
    torch.set_deterministic_debug_mode(mode)


def test_what_varies_is_refused_and_memory_stays_as_it_is() -> None:
    compute_deterministically()
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # a property
    assert not torch.backends.cudnn.allow_tf32, "float32 on a GPU is no TF32"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.nnpack.set_flags(False) == (False,), "its convolutions round more"
    with pytest.raises(RuntimeError, match="deterministic"):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2), accumulate=False)


def test_float32_is_float32_whatever_the_process_was_told() -> None:
    """As Lightning advises, for GPUs; torch follows on processors that multiply bf16, too."""
    before = torch.get_float32_matmul_precision()
    conv = getattr(torch.backends.mkldnn, "conv", None)  # since torch 2.9
    try:
        torch.set_float32_matmul_precision("medium")
        if conv is not None:
            conv.fp32_precision = "bf16"
        compute_deterministically()
        assert torch.get_float32_matmul_precision() == "highest"
        assert conv is None or conv.fp32_precision == "ieee"
    finally:
        torch.set_float32_matmul_precision(before)
        if conv is not None:
            conv.fp32_precision = "none"


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="since torch 2.9")
@pytest.mark.parametrize("told", [torch.backends, torch.backends.cudnn])
def test_so_it_is_where_all_operations_were_told_at_once(told: Any) -> None:
    cudnn: Any = torch.backends.cudnn
    before = told.fp32_precision
    try:
        told.fp32_precision = "tf32"
        compute_deterministically()
        assert cudnn.conv.fp32_precision == "ieee"
        assert not cudnn.allow_tf32, "it can be read, as Lightning may"
    finally:
        told.fp32_precision = before
