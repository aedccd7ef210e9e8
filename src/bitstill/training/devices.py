"""The device of a run, and the precisions that are fast on it."""

import dataclasses
import logging
import platform

import torch

from bitstill.data import ImageData, Split
from bitstill.engine.training import training_available
from bitstill.errors import UserError, counted
from bitstill.schema import TrainerConfig

log = logging.getLogger(__name__)

_GPU = 0  # Lightning uses the first visible GPU for devices=1


def device_of(trainer: TrainerConfig) -> torch.device:
    """Return the device of a run, and set torch's number of threads.

    Raises:
        UserError: there is no GPU, and one is asked for.
    """
    # Always set, since MKL may use fewer threads until a number is set, as evaluation does later.
    torch.set_num_threads(trainer.threads or torch.get_num_threads())
    if trainer.accelerator == "cpu":
        if trainer.precision == "bf16" and not has_fast_bf16():
            log.warning(
                "trainer.precision = bf16: this processor has no instructions for it, or torch "
                "does not use them, and float32 is faster"
            )
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError("trainer.accelerator = gpu: no CUDA device is found; give trainer=cpu")
    return torch.device("cuda", _GPU)


def has_fast_bf16() -> bool:
    """Whether torch convolves faster in bf16 than in float32; elsewhere it takes ten times."""
    if not torch.backends.mkldnn.is_available():  # oneDNN, which torch lacks on Macs
        return False
    return platform.machine() != "x86_64" or torch.backends.cpu.get_cpu_capability() == "AVX512"


def moved(data: ImageData, device: torch.device) -> ImageData:
    """Move the images to the device; on a CPU they stay in shared memory."""

    def split(one: Split) -> Split:
        return Split(one.images.to(device), one.labels.to(device))

    return dataclasses.replace(
        data, train=split(data.train), val=split(data.val), test=split(data.test)
    )


def device_name(trainer: TrainerConfig) -> str:
    """Return the description of the device for a run's record."""
    if trainer.accelerator == "gpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name(_GPU)
    threads = trainer.threads or torch.get_num_threads()
    kernel = "C kernel" if training_available() else "no C kernel"
    # The instruction set that torch has chosen decides the last bits of sums.
    processor = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    return f"CPU ({processor}), {counted(threads, 'thread')}, {kernel}"
