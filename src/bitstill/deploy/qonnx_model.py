"""QONNX files for FINN, hls4ml and the like: float tensors that hold integers, and Quant nodes.

A Quant node holds (q - zero) * scale for a signed q of k bits. Codes of k bits are the odd numbers
from -(2^k - 1) to 2^k - 1, so their scale is 2 and their zero -1/2 (2-bit codes are -3, -1, 1, 3).
For one bit there is BipolarQuant. The tools require a batch of one image, and every attribute to be
explicit.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from bitstill.deploy.graph import PADDED, Graph
from bitstill.integer import IntegerLayer, IntegerNetwork

_DOMAIN = "qonnx.custom_op.general"
_CONV: dict[str, Any] = {**PADDED, "strides": [1, 1], "dilations": [1, 1], "group": 1}
_POOL: dict[str, Any] = {"pads": [0, 0, 0, 0], "dilations": [1, 1], "ceil_mode": 0}


def quant_model(network: IntegerNetwork, metadata: Mapping[str, str]) -> bytes:
    """Return a student in QONNX.

    Args:
        network: a student of any bit widths whose sums float32 can hold.
        metadata: metadata of the file.

    Raises:
        ValueError: the sums are too large for float32.
    """
    graph = Graph()
    graph.add("Cast", name="pixels", to=TensorProto.FLOAT)
    graph.add("Transpose", name="channels_first", perm=[0, 3, 1, 2])
    for name, value in (("zero", 0), ("one", 1), ("two", 2), ("minus_half", -0.5)):
        graph.constant(name, np.float32(value))
    graph.constant("weight_bits", np.float32(network.weight_bits))
    for layer in network.layers:
        name = layer.layer.name
        if not layer.fits_float32:
            raise ValueError(
                f"{name}: float32 cannot hold its sums: --format qonnx takes fewer bits"
            )
        codes = graph.constant(f"{name}.codes", layer.codes.numpy().astype(np.float32))
        weight = f"{name}.quantized"
        graph.nodes.append(_quantized(codes, weight, network.weight_bits))
        graph.add("Conv", weight, name=name, **_CONV)
        _reach(graph, layer, network.activation_bits)
        if layer.layer.pool:
            graph.pool(name, **_POOL)
    levels = graph.constant("levels", np.float32(2**network.activation_bits - 1))
    graph.add("Div", levels, name="shares")
    graph.classify(network.weight.numpy(), network.bias.numpy())
    return graph.model(len(network.bias), metadata, batch=1)


def _quantized(codes: str, name: str, bits: int) -> NodeProto:
    if bits == 1:
        return helper.make_node("BipolarQuant", [codes, "one"], [name], name, domain=_DOMAIN)
    return helper.make_node(
        "Quant",
        [codes, "two", "minus_half", "weight_bits"],
        [name],
        name,
        domain=_DOMAIN,
        signed=1,
        narrow=0,
        rounding_mode="ROUND",
    )


def _reach(graph: Graph, layer: IntegerLayer, bits: int) -> None:
    """Turn sums into levels: MultiThreshold, or for one bit Quant of the integer S - t + 1."""
    name = layer.layer.name
    thresholds = layer.thresholds.numpy().astype(np.float32)
    if bits > 1:
        steps = graph.constant(f"{name}.thresholds", thresholds)
        kind = f"UINT{bits}"
        graph.add("MultiThreshold", steps, name=f"{name}.bits", out_dtype=kind, domain=_DOMAIN)
        return
    shift = graph.constant(f"{name}.shift", 1 - thresholds[:, :, None])
    graph.add("Add", shift, name=f"{name}.shifted")
    graph.add(
        "Quant",
        *("one", "zero", "one"),
        name=f"{name}.bits",
        domain=_DOMAIN,
        signed=0,
        narrow=0,
        rounding_mode="ROUND",
    )
