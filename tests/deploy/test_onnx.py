"""ONNX files in onnxruntime, QONNX files in the qonnx package's executor."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from tests.students import random_images, random_student, with_bits

from bitstill.deploy.onnx_models import float_model, integer_model
from bitstill.deploy.qonnx_model import quant_model
from bitstill.integer import integer_network
from bitstill.models import Teacher, to_input

METADATA = {"identity": "d" * 64, "classes": "0\n1"}


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return random_images(20).numpy()


def run(content: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == METADATA
    whole: NDArray[np.float32] = session.run(None, {"images": images})[0]
    single = session.run(None, {"images": images[:1]})[0]  # the batch axis is open
    np.testing.assert_allclose(single, whole[:1], rtol=1e-5, atol=1e-5)
    return whole


@pytest.mark.parametrize("weight_bits", [1, 2, 3, 6])
@pytest.mark.parametrize("method", ["mean_scaled", "dorefa"])
def test_integers(images: NDArray[np.uint8], weight_bits: int, method: str) -> None:
    network = integer_network(random_student(weight_bits, with_bits(weight_bits, 1, method)))
    found = run(integer_model(network, METADATA), images)
    expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()


@pytest.mark.parametrize("threshold", [-(2**27), 2**27])
def test_thresholds_beyond_every_sum(images: NDArray[np.uint8], threshold: int) -> None:
    """As a packed file may have them: 255 times that is no int32."""
    network = integer_network(random_student(9))
    for layer in network.layers:
        layer.thresholds[:4] = threshold
    found = run(integer_model(network, METADATA), images)
    expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_bits_of_every_layer(images: NDArray[np.uint8]) -> None:
    network = integer_network(random_student(9))
    model = onnx.load_from_string(integer_model(network, {}))
    names = [
        f"{one.layer.name}.pool" if one.layer.pool else one.layer.name for one in network.layers
    ]
    for name in names:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(names, {"images": images})
    for ours, theirs in zip(found, network.levels(torch.from_numpy(images)), strict=True):
        assert np.array_equal(ours, 255 * theirs.numpy())


def test_the_teacher_in_float32(images: NDArray[np.uint8]) -> None:
    torch.manual_seed(3)
    teacher = Teacher(classes=7)
    with torch.no_grad():
        for block in teacher.stages():
            block.norm.weight.normal_()
            block.norm.bias.normal_()
            block.norm.running_mean.normal_(std=0.1)  # type: ignore[union-attr]  # tracked
            block.norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]  # tracked
        expected = teacher.eval()(to_input(torch.from_numpy(images))).numpy()
    found = run(float_model(teacher, METADATA), images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def execute() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what qonnx imports
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes

        def run(content: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            model = ModelWrapper(onnx.load_from_string(content))
            model.set_tensor_shape("images", list(images.shape))
            logits: NDArray[np.float32] = execute_onnx(
                model.transform(InferShapes()), {"images": images}
            )["logits"]
            return logits

        yield run


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits"), [(1, 1), (2, 1), (8, 1), (2, 2), (3, 4)]
)
def test_qonnx(
    execute: Any, images: NDArray[np.uint8], weight_bits: int, activation_bits: int
) -> None:
    network = integer_network(random_student(1, with_bits(weight_bits, activation_bits)))
    found = execute(quant_model(network, METADATA), images)
    expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()


@pytest.mark.filterwarnings("ignore")  # of what qonnx imports
@pytest.mark.parametrize("weight_bits", [1, 2])
def test_qonnx_goes_through_its_tools(
    images: NDArray[np.uint8], weight_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `qonnx-cleanup`, `qonnx-exec`, `qonnx-to-channels-last` and `qonnx-inference-cost` do."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
    from qonnx.util.cleanup import cleanup_model
    from qonnx.util.inference_cost import inference_cost

    network = integer_network(random_student(1, with_bits(weight_bits, 1)))
    model = cleanup_model(ModelWrapper(onnx.load_from_string(quant_model(network, METADATA))))
    one = images[:1]
    expected = network(torch.from_numpy(one)).numpy()
    for form in (model, model.transform(ConvertToChannelsLastAndClean())):
        [found] = execute_onnx(form, {form.graph.input[0].name: one}).values()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert inference_cost(model, discount_sparsity=False)["total_cost"]["total_macs"] > 10e6
