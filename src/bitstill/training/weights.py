"""A network's weights on disk, with both kinds of batch norm statistics."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from bitstill.files import write_atomically
from bitstill.models import Network

_EXACT = "precise."  # the prefix of buffers with exact statistics


def save_weights(network: Network, path: Path, exact: Mapping[str, Tensor]) -> None:
    """Write the state_dict as safetensors, atomically, with exact statistics beside it.

    Args:
        network: the network, whose state_dict holds its running statistics.
        path: the file to write.
        exact: exact statistics by the name of their buffer; may be empty.
    """
    tensors = network.state_dict() | {_EXACT + name: value for name, value in exact.items()}
    write_atomically(path, save({name: value.contiguous() for name, value in tensors.items()}))


def are_finite(network: Network) -> bool:
    """Whether no parameter and no statistic is NaN or infinite."""
    return all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


def load_weights(network: Network, path: Path, *, statistics: str = "running") -> None:
    """Load a file that :func:`save_weights` wrote into a network.

    Args:
        network: a network of the same class and quantizer as the one that was saved.
        path: the file to read.
        statistics: ``running`` or ``precise``: the statistics that batch norm evaluates with.

    Raises:
        KeyError: exact statistics are asked for and were not measured.
    """
    tensors = load_file(path)
    exact = {
        name.removeprefix(_EXACT): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(_EXACT)
    }
    if statistics == "precise":
        if not exact:
            raise KeyError(f"{path} holds no exact batch norm statistics")
        tensors |= exact
    network.load_state_dict(tensors)
