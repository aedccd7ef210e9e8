"""The speed of a deployed student: ``bitstill bench deploy``.

The yardstick is onnxruntime in float32 on the teacher of the same topology, with batch norm folded.
All runtimes get the same uint8 images.
"""

import ctypes
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstill.bench.paired import Report, Subject, Timing, paired, versions
from bitstill.deploy.c_source import c_source
from bitstill.engine import kernel
from bitstill.engine.compiler import compile_kernel
from bitstill.engine.engine import Engine
from bitstill.engine.layout import address, lay_out
from bitstill.engine.packed import PackedModel, to_bytes
from bitstill.errors import UserError
from bitstill.packing import pack

YARDSTICK = "onnxruntime float32"
BATCHES = (1, 256)
THREADS = (1, 2)
_PACKAGES = ("bitstill", "numpy", "numba", "onnxruntime", "torch")

Predict = Callable[[NDArray[np.uint8]], NDArray[Any]]


def bench(
    *, rounds: int, threads: Sequence[int] = THREADS, batches: Sequence[int] = BATCHES
) -> Report:
    """Time a random student and teacher; the time does not depend on the weights.

    Raises:
        UserError: onnx or onnxruntime is missing.
    """
    for name in ("onnx", "onnxruntime"):
        if find_spec(name) is None:
            raise UserError(f"{name} is not installed: pip install 'bitstill[onnx]'")
    images = np.random.default_rng(0).integers(0, 256, (max(batches), 32, 32, 3), np.uint8)
    student, onnx_float, onnx_int8 = _models(images)
    timings, equal = [], True
    for count in threads:
        runtimes = _runtimes(student, onnx_float, onnx_int8, count)
        students = [run(images) for name, run in runtimes.items() if name != YARDSTICK]
        equal &= all(np.array_equal(one, students[0]) for one in students)
        for batch in batches:
            timings += _timed(runtimes, images[:batch], count, rounds)
    facts = {
        "packed, bytes": len(to_bytes(student)),
        "onnx int8, bytes": len(onnx_int8),
        "onnx float32, bytes": len(onnx_float),
        "the same classes from every runtime of the student": "yes" if equal else "NO",
    }
    return Report("us an image", 1e6, rounds, timings, versions(_PACKAGES), facts)


def _models(images: NDArray[np.uint8]) -> tuple[PackedModel, bytes, bytes]:
    import torch

    from bitstill.deploy.onnx_models import float_model, integer_model
    from bitstill.integer import integer_network
    from bitstill.models import Student, Teacher
    from bitstill.quantizers import Quantizer
    from bitstill.training.evaluation import precise_batch_norm

    torch.manual_seed(0)
    student = Student(quantizer=Quantizer(activation_scale=0.5)).eval()
    with precise_batch_norm(student, torch.from_numpy(images), batch_size=64):
        network = integer_network(student)
    return pack(network), float_model(Teacher().eval(), {}), integer_model(network, {})


def _runtimes(
    student: PackedModel, onnx_float: bytes, onnx_int8: bytes, threads: int
) -> dict[str, Predict]:
    runtimes = {
        YARDSTICK: _session(onnx_float, threads),
        "onnxruntime int8": _session(onnx_int8, threads),
        "numba": Engine(student, threads=threads, backend="numba").predict,
    }
    for path in kernel.available():
        engine = Engine(student, threads=threads, backend="c")
        engine.backend = kernel.Kernel(lay_out(student), path)
        runtimes[engine.backend.name] = engine.predict
    if threads == 1 and (exported := _exported(student)) is not None:
        runtimes["export --format c"] = exported
    return runtimes


def _exported(student: PackedModel) -> Predict | None:
    """Return a student exported as C, compiled for any processor; None if that fails."""
    with TemporaryDirectory() as folder:
        source, library = Path(folder) / "student.c", Path(folder) / "student.so"
        source.write_bytes(c_source(student))
        compile_kernel(library, sources=[source])
        try:
            predict_one = ctypes.CDLL(str(library)).student_predict
        except OSError:  # no compiler, or nothing in the temporary folder may run (noexec)
            return None
    predict_one.argtypes = [ctypes.c_void_p]
    return lambda images: np.array([predict_one(address(image)) for image in images])


def _session(model: bytes, threads: int) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Otherwise its threads would keep spinning on the cores while the next runtime is timed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def predict(images: NDArray[np.uint8]) -> NDArray[Any]:
        labels: NDArray[Any] = session.run(None, {"images": images})[0].argmax(axis=1)
        return labels

    return predict


def _timed(
    runtimes: dict[str, Predict], images: NDArray[np.uint8], threads: int, rounds: int
) -> list[Timing]:
    subjects = {name: _subject(predict, images) for name, predict in runtimes.items()}
    settings = {"threads": threads, "batch": len(images)}
    return paired(subjects, yardstick=YARDSTICK, rounds=rounds, settings=settings, warm_up=2)


def _subject(predict: Predict, images: NDArray[np.uint8]) -> Subject:
    """Return a function that times a runtime, in seconds per image."""
    calls = max(1, 100 // len(images))  # one image takes too little time for the clock

    def timed() -> float:
        predict(images)  # fills the caches with its own data
        begun = time.perf_counter()
        for _ in range(calls):
            predict(images)
        return (time.perf_counter() - begun) / calls / len(images)

    return timed
