"""Packs a student's integers, and unpacks them."""

from collections.abc import Sequence

import torch

from bitstill.engine.packed import PackedLayer, PackedModel
from bitstill.engine.planes import pack_codes, unpack_codes
from bitstill.integer import IntegerLayer, IntegerNetwork
from bitstill.topology import TOPOLOGY, Layer


def describe_selection(select: str, epoch: int | None, statistics: str) -> str:
    """Say which weights a file holds: selection, epoch if it is known, batch norm statistics."""
    return f"{select}{'' if epoch is None else f' {epoch}'}, {statistics}"


def pack(
    network: IntegerNetwork,
    *,
    classes: Sequence[str] = (),
    identity: str = "",
    test_accuracy: float | None = None,
    selection: str = "",
) -> PackedModel:
    """Return the packed form of an integer network, with what is known of its run.

    Args:
        network: of a student.
        classes: their names; without, their numbers.
        identity: of the run.
        test_accuracy: of these weights and statistics.
        selection: see :func:`describe_selection`.
    """
    layers = tuple(
        PackedLayer(
            pack_codes(layer.codes.cpu().numpy(), bits=network.weight_bits),
            layer.thresholds.cpu().numpy(),
        )
        for layer in network.layers
    )
    return PackedModel(
        layers=layers,
        weight=network.weight.float().cpu().numpy(),  # whatever type it was trained in
        bias=network.bias.float().cpu().numpy(),
        activation_bits=network.activation_bits,
        classes=tuple(classes) or tuple(map(str, range(len(network.bias)))),
        identity=identity,
        test_accuracy=test_accuracy,
        selection=selection,
    )


def unpack(model: PackedModel) -> IntegerNetwork:
    """Return the integer network of a packed form: the inverse of :func:`pack`."""
    return IntegerNetwork(
        layers=tuple(map(_layer, TOPOLOGY, model.layers)),
        weight=torch.from_numpy(model.weight),
        bias=torch.from_numpy(model.bias),
        weight_bits=model.weight_bits,
        activation_bits=model.activation_bits,
    )


def _layer(layer: Layer, packed: PackedLayer) -> IntegerLayer:
    codes = unpack_codes(packed.planes, layer)
    return IntegerLayer(layer, torch.from_numpy(codes.copy()), torch.from_numpy(packed.thresholds))
