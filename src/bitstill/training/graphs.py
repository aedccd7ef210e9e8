"""A training step on a GPU without Python between its operations: CUDA graphs."""

import gc
import logging

import torch
from torch import Tensor, nn

from bitstill.errors import first_line

log = logging.getLogger(__name__)


def replay_from_graphs(network: nn.Module, images: Tensor) -> None:
    """Replay a network's training, forward and backward, from CUDA graphs from now on.

    A step of this topology has about a hundred small operations, and a GPU finishes each before
    Python has launched the next. Graphs launch all at once: the same kernels in the same order on
    the same weights, so the results are the same. In evaluation mode nothing changes. If graphs
    cannot be captured, a warning says so, and operations are launched one by one.

    Args:
        network: on a GPU, in training mode; its weights and statistics are left as they are.
        images: a batch in the shape of every step's, (N, 3, 32, 32); its values do not matter.
    """
    forget_graphs(network)
    gc.collect()  # frees an earlier run's network and graphs, which refer to each other
    # Graphs keep gradient accumulators that trial steps made on another stream. No gradient passes
    # between the two streams, so the warning would be wrong.
    if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):  # torch 2.10
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    kind = images.device.type
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    without_cache = torch.autocast(  # required by `make_graphed_callables`
        kind,
        dtype=torch.get_autocast_dtype(kind),
        enabled=torch.is_autocast_enabled(kind),
        cache_enabled=False,
    )
    try:
        with without_cache:
            torch.cuda.make_graphed_callables(network, (images,))
    except (RuntimeError, AssertionError) as error:
        if images.is_cuda:  # a failed capture leaves its stream current
            torch.cuda.set_stream(torch.cuda.default_stream(images.device))
        log.warning(
            "no CUDA graphs (%s): each operation is launched by itself", first_line(_cause(error))
        )
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            buffer.copy_(before[name])  # undo the trial steps


def forget_graphs(network: nn.Module) -> None:
    """Stop replaying graphs, which read the weights at the addresses that they had at capture."""
    network.__dict__.pop("forward", None)  # set by `make_graphed_callables`


def _cause(error: BaseException) -> BaseException:
    """Return the first error: that of an operation, not that of the capture that it broke."""
    while error.__context__ is not None:
        error = error.__context__
    return error
