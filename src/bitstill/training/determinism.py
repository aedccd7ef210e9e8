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
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property
    torch.backends.cudnn.benchmark = False
    # It convolves where torch has no oneDNN, as on a Mac: its transforms (Winograd) round more, and
    # a teacher's step takes twice as long as by torch's own convolutions.
    torch.backends.nnpack.set_flags(False)
    # float32 is float32, on every generation of GPUs, whatever the environment says.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # And on processors that multiply bf16, whatever the process has been told.
    torch.set_float32_matmul_precision("highest")
    if hasattr(torch.backends.mkldnn, "conv"):  # since torch 2.9
        # Each setting by name: an unset one inherits the global setting, and allow_tf32 = False
        # leaves cuDNN's unset. Both are needed, or torch could not tell what allow_tf32 is.
        cudnn: Any = torch.backends.cudnn
        for operation in (torch.backends.mkldnn.conv, cudnn.conv, cudnn.rnn):
            operation.fp32_precision = "ieee"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
