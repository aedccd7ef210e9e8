"""A student's integers in their packed form."""

from bitstill.engine.packed import PackedLayer, PackedModel
from bitstill.engine.planes import pack_codes
from bitstill.integer import IntegerNetwork


def class_names(count: int) -> tuple[str, ...]:
    """Return the classes' names: their numbers, which for digits are what they show."""
    return tuple(str(label) for label in range(count))


def describe_selection(select: str, epoch: int | None, statistics: str) -> str:
    """Say which weights a file holds: selection, epoch if it is known, batch norm statistics."""
    return f"{select}{'' if epoch is None else f' {epoch}'}, {statistics}"


def pack(
    network: IntegerNetwork,
    *,
    identity: str = "",
    test_accuracy: float | None = None,
    selection: str = "",
) -> PackedModel:
    """Return the packed form of an integer network, with what is known of its run."""
    layers = tuple(
        PackedLayer(
            pack_codes(layer.codes.cpu().numpy(), bits=network.weight_bits),
            layer.thresholds.cpu().numpy(),
        )
        for layer in network.layers
    )
    return PackedModel(
        layers=layers,
        weight=network.weight.cpu().numpy(),
        bias=network.bias.cpu().numpy(),
        activation_bits=network.activation_bits,
        classes=class_names(len(network.bias)),
        identity=identity,
        test_accuracy=test_accuracy,
        selection=selection,
    )
