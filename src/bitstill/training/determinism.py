"""Makes torch compute the same bits from the same configuration."""

import os
from typing import Any

import torch


def compute_deterministically() -> None:
    """Restrict torch, in this process, to operations that give the same bits each time.

    Lightning's ``deterministic=True`` would import torch's compiler, and have torch fill whatever
    it allocates with NaN: a tenth of a step, for memory that nothing reads before it is written.
    """
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module
    torch.backends.cudnn.benchmark = False
    # Without oneDNN, as on a Mac, NNPACK would compute convolutions: its Winograd transforms round
    # more, and a teacher's step takes twice as long as with torch's own convolutions.
    torch.backends.nnpack.set_flags(False)
    # No TF32 on any GPU, whatever the environment says.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # And no bf16 in place of float32 on processors that have it, whatever was set before.
    torch.set_float32_matmul_precision("highest")
    if hasattr(torch.backends.mkldnn, "conv"):  # since torch 2.9
        # Set one by one: an unset one inherits the global setting, and allow_tf32 = False does not
        # set cuDNN's. Both are needed, or torch cannot say what allow_tf32 is.
        cudnn: Any = torch.backends.cudnn
        for operation in (torch.backends.mkldnn.conv, cudnn.conv, cudnn.rnn):
            operation.fp32_precision = "ieee"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for a deterministic cuBLAS
