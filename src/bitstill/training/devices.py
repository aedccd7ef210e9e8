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

_GPU = 0  # among those that the process sees; Lightning uses this one for a single device


def device_of(trainer: TrainerConfig) -> torch.device:
    """Return the device of a run, and set torch's number of threads.

    Raises:
        UserError: a GPU is asked for, and there is none.
    """
    # Always set it: until it is told a number, MKL may use fewer threads, and only from an
    # evaluation on, which sets one (integer.py), it would use them all.
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
    """Whether bf16 is faster than float32 in convolutions; elsewhere it takes ten times as long."""
    if not torch.backends.mkldnn.is_available():  # oneDNN, which builds of torch for Macs lack
        return False
    return platform.machine() != "x86_64" or torch.backends.cpu.get_cpu_capability() == "AVX512"


def moved(data: ImageData, device: torch.device) -> ImageData:
    """Return the data with its images on the device; on a CPU they stay in shared memory."""

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
    # The last bits of a sum depend on the instructions that torch has chosen.
    processor = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    return f"CPU ({processor}), {counted(threads, 'thread')}, {kernel}"
