"""Makes torch compute the same bits from the same configuration."""

import os
from typing import Any

import torch


def compute_deterministically() -> None:
    """Restrict torch, in this process, to operations that give the same bits each time.

    Lightning's ``deterministic=True`` would import torch's compiler and let torch fill all memory
    that it allocates with NaN. That takes a tenth of a step, and nothing reads memory here before
    writing it.
    """
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module
    torch.backends.cudnn.benchmark = False
    # Where torch has no oneDNN, as on a Mac, it would convolve with NNPACK. Its Winograd transforms
    # round more, and a teacher's step takes twice as long as with torch's own convolutions.
    torch.backends.nnpack.set_flags(False)
    # Compute float32 without TF32 on every generation of GPUs, whatever the environment says.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # Likewise on processors that multiply in bf16, whatever the process has set before.
    torch.set_float32_matmul_precision("highest")
    if hasattr(torch.backends.mkldnn, "conv"):  # since torch 2.9
        # Set one by one: an unset one inherits the global setting, and allow_tf32 = False does not
        # set cuDNN's. Both are needed, or torch cannot say what allow_tf32 is.
        cudnn: Any = torch.backends.cudnn
        for operation in (torch.backends.mkldnn.conv, cudnn.conv, cudnn.rnn):
            operation.fp32_precision = "ieee"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS requires this
