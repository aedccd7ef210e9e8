"""ONNX files: float32 for a teacher, integer arithmetic for a student, QONNX for tool chains.

All three take ``images``, uint8, (batch, 32, 32, 3), and give ``logits``, float32, (batch,
classes); the batch axis is open. Metadata is in the file's ``metadata_props``.

Integer arithmetic in onnxruntime is QLinearConv, ``saturate(multiplier * (conv + bias) + zero)``
in uint8. Features are 0 and 255. A bit is S >= t, so with bias -255 t and zero 255 the result is
255 (S - t) + 255: at S = t - 1 it is 0 and at S = t it is 255, and beyond both it saturates. The
image is 0..255 itself, so there the bias is -t and the multiplier 255.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from bitstill import __version__
from bitstill.integer import IntegerNetwork
from bitstill.models import Network
from bitstill.topology import TOPOLOGY

OPSET = 17
IR_VERSION = 9
_CODE_LIMIT = 63  # two products of 255 and a code stay below 2^15, where some processors saturate
_SUM_LIMIT = 2**24  # the multiplier acts in float32


class _Graph:
    """Nodes and constants, in order; ``value`` is the tensor that the next node reads."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.value = "images"

    def constant(self, name: str, value: ArrayLike) -> str:
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *others: str, name: str, **attributes: Any) -> None:
        """Append a node that reads ``value`` and then others."""
        inputs = [self.value, *others]
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        self.value = name

    def pool(self, name: str) -> None:
        self.add("MaxPool", name=f"{name}.pool", kernel_shape=[2, 2], strides=[2, 2])

    def classify(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        self.add("GlobalAveragePool", name="average")
        self.add("Flatten", name="features")
        weight_name = self.constant("classifier.weight", weight)
        bias_name = self.constant("classifier.bias", bias)
        self.add("Gemm", weight_name, bias_name, name="logits", transB=1)

    def model(self, classes: int, metadata: Mapping[str, str], domains: Sequence[str]) -> Any:
        """Return the checked model, as bytes."""
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 32, 32, 3])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])
        graph = helper.make_graph(self.nodes, "bitstill", [images], [logits], self.constants)
        imports = [helper.make_opsetid("", OPSET)]
        imports += [helper.make_opsetid(domain, 1) for domain in domains]
        model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
        model.producer_name, model.producer_version = "bitstill", __version__
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return model.SerializeToString(deterministic=True)


_PADDED = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}


def float_model(network: Network, metadata: Mapping[str, str]) -> bytes:
    """Return a teacher in float32, batch norm and the division by 255 folded into the weights.

    Args:
        network: a teacher; its running statistics are used.
        metadata: for the file.
    """
    graph = _Graph()
    graph.add("Cast", name="pixels", to=TensorProto.FLOAT)
    graph.add("Transpose", name="channels_first", perm=[0, 3, 1, 2])
    for layer, block in zip(TOPOLOGY, network.stages(), strict=True):
        mean, variance = (one.double() for one in block.statistics)
        scale = block.norm.weight.detach().double() / (variance + block.norm.eps).sqrt()
        weight = block.conv.weight.detach().double() * scale[:, None, None, None]
        assert block.conv.bias is not None  # noqa: S101  # built with one
        bias = (block.conv.bias.detach().double() - mean) * scale + block.norm.bias.double()
        if layer.name == "conv1":
            weight = weight / 255
        weight_name = graph.constant(f"{layer.name}.weight", weight.float().numpy())
        bias_name = graph.constant(f"{layer.name}.bias", bias.detach().float().numpy())
        graph.add("Conv", weight_name, bias_name, name=layer.name, **_PADDED)
        graph.add("Relu", name=f"{layer.name}.relu")
        if layer.pool:
            graph.pool(layer.name)
    last = network.classifier
    graph.classify(last.weight.detach().numpy(), last.bias.detach().numpy())
    return bytes(graph.model(len(last.bias), metadata, []))


def integer_model(network: IntegerNetwork, metadata: Mapping[str, str]) -> bytes:
    """Return a student for onnxruntime's int8 kernels.

    Args:
        network: with 1-bit features and weights of at most 6 bits.
        metadata: for the file.

    Raises:
        ValueError: it has other bits.
    """
    if network.activation_bits != 1 or 2**network.weight_bits - 1 > _CODE_LIMIT:
        raise ValueError(
            f"{network.weight_bits}-bit weights and {network.activation_bits}-bit features do not "
            "fit QLinearConv: --format onnx takes 1-bit features and weights of 1 to 6 bits; "
            "give --format qonnx or packed"
        )
    graph = _Graph()
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
        bias = -factor * layer.thresholds[:, 0].numpy().astype(np.int64)
        if 255 * int(2 * layer.bounds.max() + 1) >= _SUM_LIMIT:
            raise ValueError(f"{name}: sums are too large for QLinearConv: give fewer weight bits")
        bias_name = graph.constant(f"{name}.bias", bias.astype(np.int32))
        # 1 * (255/256) / (1/256) = 255, and 1 * 1 / 1 = 1: both without rounding.
        scales = (stretch, shrink) if first else (one, one)
        graph.add(
            "QLinearConv",
            *(one, zero, codes, scales[0], zero_code, scales[1], full, bias_name),
            name=name,
            **_PADDED,
        )
        if layer.layer.pool:
            graph.pool(name)
    graph.add("Cast", name="bits", to=TensorProto.FLOAT)
    graph.add("Div", graph.constant("255", np.float32(255)), name="ones")
    graph.classify(network.weight.numpy(), network.bias.numpy())
    return bytes(graph.model(len(network.bias), metadata, []))


def quant_model(network: IntegerNetwork, metadata: Mapping[str, str]) -> bytes:
    """Return a student in QONNX: float tensors that hold integers, and Quant nodes.

    A Quant node holds (q - zero) * scale for a signed q. The codes of k bits are odd, -(2^k - 1) to
    2^k - 1, with no zero among them: scale 2 and zero -1/2. Features of one bit are Quant(S - t +
    1), whose argument is an integer; of more bits, a MultiThreshold node.

    Args:
        network: any bits whose sums float32 can hold.
        metadata: for the file.

    Raises:
        ValueError: the sums are too large.
    """
    domain = "qonnx.custom_op.general"
    graph = _Graph()
    graph.add("Cast", name="pixels", to=TensorProto.FLOAT)
    graph.add("Transpose", name="channels_first", perm=[0, 3, 1, 2])
    one, two = (graph.constant(text, np.float32(text)) for text in ("1", "2"))
    nothing, half = (graph.constant(text, np.float32(text)) for text in ("0", "-0.5"))
    weight_bits = graph.constant("weight_bits", np.float32(network.weight_bits))
    for layer in network.layers:
        name = layer.layer.name
        if int(layer.bounds.max()) >= _SUM_LIMIT:
            raise ValueError(
                f"{name}: float32 cannot hold its sums: --format qonnx takes fewer bits"
            )
        codes = graph.constant(f"{name}.codes", layer.codes.numpy().astype(np.float32))
        quantized = f"{name}.quantized"
        kinds: dict[str, Any] = {"rounding_mode": "ROUND", "narrow": 0, "domain": domain}
        graph.nodes.append(
            helper.make_node(
                "Quant", [codes, two, half, weight_bits], [quantized], quantized, signed=1, **kinds
            )
        )
        graph.add("Conv", quantized, name=name, **_PADDED)
        thresholds = layer.thresholds.numpy().astype(np.float32)
        if network.activation_bits == 1:
            shift = graph.constant(f"{name}.shift", 1 - thresholds[:, :, None])
            graph.add("Add", shift, name=f"{name}.shifted")
            graph.add("Quant", one, nothing, one, name=f"{name}.bits", signed=0, **kinds)
        else:
            steps = graph.constant(f"{name}.thresholds", thresholds)
            kind = f"UINT{network.activation_bits}"
            graph.add("MultiThreshold", steps, name=f"{name}.bits", out_dtype=kind, domain=domain)
        if layer.layer.pool:
            graph.pool(name)
    levels = graph.constant("levels", np.float32(2**network.activation_bits - 1))
    graph.add("Div", levels, name="ones")
    graph.classify(network.weight.numpy(), network.bias.numpy())
    return bytes(graph.model(len(network.bias), metadata, [domain]))
