"""One student, every runtime, a whole real test set: the same class for every image."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from tests.students import differing_levels, random_images, random_student
from torch import Tensor

from bitstill.data import Parquet
from bitstill.deploy.onnx_models import integer_model
from bitstill.deploy.qonnx_model import quant_model
from bitstill.engine import kernel
from bitstill.engine.layout import lay_out
from bitstill.engine.tables import Tables
from bitstill.integer import IntegerNetwork, integer_network
from bitstill.packing import pack

pytestmark = pytest.mark.slow
_PART = 512


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """SVHN's test images from the folder that BITSTILL_TEST_DATA names; made-up ones without it."""
    folder = Path(os.environ.get("BITSTILL_TEST_DATA", "/nowhere")) / "svhn"
    if not folder.is_dir():
        return random_images(600)
    cache = str(tmp_path_factory.mktemp("cache"))
    source = Parquet(path=str(folder), val_fraction=0.1, split_seed=0, cache=cache)
    return source.load().test.images


@pytest.fixture(scope="module")
def network() -> IntegerNetwork:
    return integer_network(random_student(11))


@pytest.fixture(scope="module")
def expected(network: IntegerNetwork, images: Tensor) -> NDArray[np.float32]:
    return torch.cat([network(part) for part in images.split(_PART)]).numpy()


def test_the_float_path_is_close(network: IntegerNetwork, images: Tensor) -> None:
    assert differing_levels(network, random_student(11), images[:1024]) <= 1e-5


def test_engines(
    network: IntegerNetwork, images: Tensor, expected: NDArray[np.float32], library: Path
) -> None:
    layout, rows = lay_out(pack(network)), images.numpy().reshape(len(images), -1)
    backends: list[Any] = [Tables(layout)]
    backends += [kernel.Kernel(layout, path, library) for path in kernel.available(library)]
    for backend in backends:
        logits = np.empty_like(expected)
        backend.run(rows, logits)
        assert np.array_equal(logits, expected), backend.name


def test_every_bit(network: IntegerNetwork, images: Tensor, library: Path) -> None:
    layout = lay_out(pack(network))
    backends = (Tables(layout), kernel.Kernel(layout, library=library))
    for part in images.split(_PART):
        reference = [one.permute(0, 2, 3, 1).numpy() for one in network.levels(part)]
        for number, image in enumerate(part.numpy().reshape(len(part), -1)):
            for backend in backends:
                for found, levels in zip(backend.levels(image), reference, strict=True):
                    assert np.array_equal(found, levels[number]), backend.name


def test_onnxruntime(
    network: IntegerNetwork, images: Tensor, expected: NDArray[np.float32]
) -> None:
    content = integer_model(network, {})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    parts = [session.run(None, {"images": part.numpy()})[0] for part in images.split(_PART)]
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-5, atol=1e-5)


def test_qonnx(network: IntegerNetwork, images: Tensor, expected: NDArray[np.float32]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what qonnx imports
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes

        content, parts = quant_model(network, {}), []
        for part in images.split(_PART):
            model = ModelWrapper(onnx.load_from_string(content))
            model.set_tensor_shape("images", list(part.shape))  # the executor knows no open axis
            found = execute_onnx(model.transform(InferShapes()), {"images": part.numpy()})
            parts.append(found["logits"])
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-4, atol=1e-4)
