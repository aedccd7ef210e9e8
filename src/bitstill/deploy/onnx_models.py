"""ONNX files for onnxruntime: float32 for a teacher, integer arithmetic for a student.

Integer arithmetic in onnxruntime is QLinearConv, ``saturate(multiplier * (conv + bias) + zero)``
in uint8. Features are 0 and 255. A bit is S >= t, so with bias -255 t and zero 255 the result is
255 (S - t) + 255: it is 0 at S = t - 1 and 255 at S = t, and saturates beyond both. The image
already has values 0..255, so for conv1 the bias is -t and the multiplier 255. The product is
rounded to float32, which changes neither its sign nor whether it is 0 or beyond 255.
"""

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from bitstill.deploy.graph import PADDED, Graph
from bitstill.integer import IntegerNetwork
from bitstill.models import Network
from bitstill.topology import TOPOLOGY

_CODE_LIMIT = 63  # two products of 255 and a code stay below 2^15, where some processors saturate
_LIMIT = 2**22  # for thresholds: above every sum of such codes, and 255 times it fits in an int32


def float_model(network: Network, metadata: Mapping[str, str]) -> bytes:
    """Return a teacher in float32, with batch norm and the division by 255 folded into its weights.

    Args:
        network: a teacher, with the batch norm statistics that it holds.
        metadata: metadata of the file.
    """
    graph = Graph()
    graph.add("Cast", name="pixels", to=TensorProto.FLOAT)
    graph.add("Transpose", name="channels_first", perm=[0, 3, 1, 2])
    for layer, block in zip(TOPOLOGY, network.stages(), strict=True):
        mean, variance = (one.double() for one in block.statistics)
        scale = block.norm.weight.detach().double() / (variance + block.norm.eps).sqrt()
        weight = block.conv.weight.detach().double() * scale[:, None, None, None]
        assert block.conv.bias is not None  # noqa: S101  # built with a bias
        bias = (block.conv.bias.detach().double() - mean) * scale + block.norm.bias.double()
        if layer.name == "conv1":
            weight = weight / 255
        weight_name = graph.constant(f"{layer.name}.weight", weight.float().numpy())
        bias_name = graph.constant(f"{layer.name}.bias", bias.detach().float().numpy())
        graph.add("Conv", weight_name, bias_name, name=layer.name, **PADDED)
        graph.add("Relu", name=f"{layer.name}.relu")
        if layer.pool:
            graph.pool(layer.name)
    last = network.classifier
    graph.classify(last.weight.detach().numpy(), last.bias.detach().numpy())
    return graph.model(len(last.bias), metadata)


def integer_model(network: IntegerNetwork, metadata: Mapping[str, str]) -> bytes:
    """Return a student for onnxruntime's int8 kernels.

    Args:
        network: a student with 1-bit features and weights of at most 6 bits.
        metadata: metadata of the file.

    Raises:
        ValueError: the student has other bit widths.
    """
    if network.activation_bits != 1 or 2**network.weight_bits - 1 > _CODE_LIMIT:
        raise ValueError(
            f"{network.weight_bits}-bit weights and {network.activation_bits}-bit features do not "
            "fit QLinearConv: --format onnx takes 1-bit features and weights of 1 to 6 bits; "
            "give --format c, qonnx or packed"
        )
    graph = Graph()
    graph.add("Transpose", name="channels_first", perm=[0, 3, 1, 2])
    zero = graph.constant("zero", np.uint8(0))
    zero_code = graph.constant("zero_code", np.int8(0))
    full = graph.constant("full", np.uint8(255))
    one = graph.constant("one", np.float32(1))
    shrink = graph.constant("shrink", np.float32(1 / 256))
    stretch = graph.constant("stretch", np.float32(255 / 256))
    for layer in network.layers:
        name, first = layer.layer.name, layer.layer.name == "conv1"
        codes = graph.constant(f"{name}.codes", layer.codes.numpy().astype(np.int8))
        factor = 1 if first else 255
        bias = -factor * layer.thresholds[:, 0].numpy().clip(-_LIMIT, _LIMIT)
        bias_name = graph.constant(f"{name}.bias", bias)
        # 1 * (255/256) / (1/256) = 255, and 1 * 1 / 1 = 1: both without rounding.
        scales = (stretch, shrink) if first else (one, one)
        graph.add(
            "QLinearConv",
            *(one, zero, codes, scales[0], zero_code, scales[1], full, bias_name),
            name=name,
            **PADDED,
        )
        if layer.layer.pool:
            graph.pool(name)
    graph.add("Cast", name="bits", to=TensorProto.FLOAT)
    graph.add("Div", graph.constant("255", np.float32(255)), name="ones")
    graph.classify(network.weight.numpy(), network.bias.numpy())
    return graph.model(len(network.bias), metadata)
