"""A packed student, engines for it, and a finished run made in a moment."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.students import random_student

from bitstill.deploy import kernel
from bitstill.deploy.compiler import compile_kernel
from bitstill.deploy.export import pack
from bitstill.deploy.layout import lay_out
from bitstill.deploy.packed import PackedModel
from bitstill.integer import IntegerNetwork, integer_network
from bitstill.models import Teacher
from bitstill.runs import RunPaths, RunRecord
from bitstill.weights import save_weights


@pytest.fixture(scope="session")
def network() -> IntegerNetwork:
    return integer_network(random_student(7))


@pytest.fixture(scope="session")
def packed(network: IntegerNetwork) -> PackedModel:
    return pack(network)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C kernel, compiled for the tests; they are left out where there is no compiler."""
    target = tmp_path_factory.mktemp("kernel") / "kernel.so"
    reason = compile_kernel(target, flags=["-Wall", "-Wextra", "-Werror"])
    if reason == "there is no C compiler":
        pytest.skip(reason)
    assert reason is None, reason
    return target


@pytest.fixture
def kernels(library: Path, packed: PackedModel) -> list[kernel.Kernel]:
    paths = kernel.available(library)
    return [kernel.Kernel(lay_out(packed), path, library) for path in paths]


def record(model: str, **changes: Any) -> RunRecord:
    last = {"epoch": 3.0, "val/accuracy": 0.5, "test/accuracy": 0.75}
    best = {"epoch": 2.0, "val/accuracy": 0.625, "test/accuracy": 0.5}
    selections: Any = {"last": last, "best_val": best, "best_test": last}
    quantizer = {
        "_target_": "bitstill.quantizers.Quantizer",
        "method": "mean_scaled",
        "weight_bits": 2,
        "activation_bits": 1,
        "activation_scale": 0.5,
    }
    config = {
        "quantizer": quantizer | changes.pop("quantizer", {}),
        "batch_norm": {"momentum": 0.01, "epsilon": 1e-3},
    }
    known: dict[str, Any] = {
        "status": "done",
        "identity": "a" * 64,
        "model": model,
        "loss": "hard",
        "temperature": 15.0,
        "seed": 0,
        "epoch": 3,
        "epochs": 3,
        "config": config,
        "data_identity": "b" * 64,
        "teacher_identity": None,
        "selections": {"running": selections, "precise": selections},
    }
    return RunRecord(**(known | changes))


@pytest.fixture
def student_run(tmp_path: Path) -> Path:
    """A student's folder; its exact statistics are running ones with another mean."""
    directory = tmp_path / "sweep" / "student"
    directory.mkdir(parents=True)
    student = random_student(5)
    exact = {
        name: value + 0.01
        for name, value in student.state_dict().items()
        if name.endswith("running_mean")
    }
    save_weights(student, RunPaths(directory).weights, exact)
    save_weights(random_student(6), RunPaths(directory).best_val_weights, exact)
    record("student").write(RunPaths(directory))
    return directory


@pytest.fixture
def teacher_run(tmp_path: Path) -> Path:
    directory = tmp_path / "sweep" / "teacher"
    directory.mkdir(parents=True)
    torch.manual_seed(0)
    save_weights(Teacher(), RunPaths(directory).weights, {})
    selections = record("teacher").selections
    del selections["precise"]
    record("teacher", selections=selections, temperature=None).write(RunPaths(directory))
    return directory
