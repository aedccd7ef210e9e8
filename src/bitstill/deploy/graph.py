"""The skeleton of an ONNX file: one chain of nodes from ``images`` to ``logits``.

``images`` is uint8, (batch, 32, 32, 3), and ``logits`` float32, (batch, classes). Metadata is in
the file's ``metadata_props``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from bitstill import __version__

OPSET = 17
IR_VERSION = 9
PADDED = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}


class Graph:
    """Nodes and constants, in order; ``value`` names the tensor that the next node reads."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.value = "images"

    def constant(self, name: str, value: ArrayLike) -> str:
        """Add a constant under a name, and return the name."""
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *others: str, name: str, **attributes: Any) -> None:
        """Append a node with the inputs ``value`` and ``others``."""
        inputs = [self.value, *others]
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        self.value = name

    def pool(self, name: str, **attributes: Any) -> None:
        """Append the max pool after a layer."""
        halves = {"kernel_shape": [2, 2], "strides": [2, 2]}
        self.add("MaxPool", name=f"{name}.pool", **halves, **attributes)

    def classify(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Append the average pool and the last layer, (classes, 128) and (classes,)."""
        self.add("GlobalAveragePool", name="average")
        self.add("Flatten", name="features")
        weight_name = self.constant("classifier.weight", weight)
        bias_name = self.constant("classifier.bias", bias)
        self.add("Gemm", weight_name, bias_name, name="logits", transB=1)

    def model(
        self, classes: int, metadata: Mapping[str, str], *, batch: int | str = "batch"
    ) -> bytes:
        """Return the checked model, as bytes; a batch given by name is a dynamic axis."""
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, 32, 32, 3])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])
        graph = helper.make_graph(self.nodes, "bitstill", [images], [logits], self.constants)
        domains = sorted({node.domain for node in self.nodes})  # ONNX's own domain has no name
        imports = [helper.make_opsetid(one, 1 if one else OPSET) for one in domains]
        model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
        model.producer_name, model.producer_version = "bitstill", __version__
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))
