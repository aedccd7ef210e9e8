"""How fast is a deployed student? ``bitstill bench deploy``: paired, in one run.

Every round times each runtime once, one right after the other, so that whatever slows the machine
slows them all; the speedup is taken within the round, and its median over the rounds is reported
with its quartiles. The yardstick is onnxruntime in float32 on the teacher of the same topology,
batch norm folded. All runtimes get the same uint8 images.
"""

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstill.engine import kernel
from bitstill.engine.engine import Engine
from bitstill.engine.packed import to_bytes
from bitstill.errors import UserError
from bitstill.packing import pack

YARDSTICK = "onnxruntime float32"
BATCHES = (1, 256)
THREADS = (1, 2)
_PACKAGES = ("bitstill", "numpy", "numba", "onnxruntime", "torch")

Predict = Callable[[NDArray[np.uint8]], NDArray[Any]]


@dataclass(frozen=True)
class Timing:
    """One runtime with some threads on batches of some size; three numbers are quartiles.

    Attributes:
        runtime: its name.
        threads: how many.
        batch: images a call.
        microseconds: an image.
        speedup: over the yardstick, within a round.
    """

    runtime: str
    threads: int
    batch: int
    microseconds: tuple[float, float, float]
    speedup: tuple[float, float, float]


@dataclass(frozen=True)
class Report:
    """What was measured, and where.

    Attributes:
        machine: the processor.
        versions: of what computes.
        rounds: how often each was timed.
        sizes: bytes, by name.
        equal: whether all runtimes of the student gave the same classes.
        timings: the table.
    """

    machine: str
    versions: dict[str, str]
    rounds: int
    sizes: dict[str, int]
    equal: bool
    timings: list[Timing]


def bench(*, rounds: int = 30, threads: Sequence[int] = THREADS) -> Report:
    """Time a random student and teacher; how long they take does not depend on the weights.

    Raises:
        UserError: onnxruntime is missing.
    """
    try:
        import onnxruntime as _  # noqa: F401
    except ImportError as error:
        raise UserError("onnxruntime is not installed: pip install 'bitstill[onnx]'") from error
    images = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 32, 32, 3), np.uint8)
    student, onnx_float, onnx_int8 = _models(images)
    timings, equal = [], True
    for count in threads:
        runtimes = _runtimes(student, onnx_float, onnx_int8, count)
        students = [run(images) for name, run in runtimes.items() if name != YARDSTICK]
        equal &= all(np.array_equal(one, students[0]) for one in students)
        for batch in BATCHES:
            timings += _timed(runtimes, images[:batch], count, rounds)
    sizes = {
        "packed": len(to_bytes(student)),
        "onnx int8": len(onnx_int8),
        "onnx float32": len(onnx_float),
    }
    versions = {name: version(name) for name in _PACKAGES}
    return Report(_processor(), versions, rounds, sizes, equal, timings)


def _models(images: NDArray[np.uint8]) -> tuple[Any, bytes, bytes]:
    import torch

    from bitstill.deploy.onnx_models import float_model, integer_model
    from bitstill.evaluation import precise_batch_norm
    from bitstill.integer import integer_network
    from bitstill.models import Student, Teacher
    from bitstill.quantizers import Quantizer

    torch.manual_seed(0)
    student = Student(quantizer=Quantizer(activation_scale=0.5)).eval()
    with precise_batch_norm(student, torch.from_numpy(images), batch_size=64):
        network = integer_network(student)
    return pack(network), float_model(Teacher().eval(), {}), integer_model(network, {})


def _runtimes(
    student: Any, onnx_float: bytes, onnx_int8: bytes, threads: int
) -> dict[str, Predict]:
    runtimes = {
        YARDSTICK: _session(onnx_float, threads),
        "onnxruntime int8": _session(onnx_int8, threads),
        "numba": Engine(student, threads=threads, backend="numba").predict,
    }
    if kernel.available():
        engine = Engine(student, threads=threads, backend="c")
        runtimes[engine.backend.name] = engine.predict
    return runtimes


def _session(model: bytes, threads: int) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def predict(images: NDArray[np.uint8]) -> NDArray[Any]:
        labels: NDArray[Any] = session.run(None, {"images": images})[0].argmax(axis=1)
        return labels

    return predict


def _timed(
    runtimes: dict[str, Predict], images: NDArray[np.uint8], threads: int, rounds: int
) -> list[Timing]:
    batch = len(images)
    calls = max(1, 100 // batch)  # one image is too short for the clock
    seconds = {name: np.empty(rounds) for name in runtimes}
    for number in range(-2, rounds):  # two rounds to warm up
        for name, predict in runtimes.items():
            predict(images)  # the caches are now its own
            begun = time.perf_counter()
            for _ in range(calls):
                predict(images)
            if number >= 0:
                seconds[name][number] = (time.perf_counter() - begun) / calls / batch
    return [
        Timing(
            name,
            threads,
            batch,
            _quartiles(1e6 * taken),
            _quartiles(seconds[YARDSTICK] / taken),
        )
        for name, taken in seconds.items()
    ]


def _quartiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return round(low, 2), round(middle, 2), round(high, 2)


def _processor() -> str:
    """Return the processor's name, as lscpu has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def as_json(report: Report) -> str:
    """Return everything as JSON."""
    return json.dumps(asdict(report), indent=2)


def as_table(report: Report) -> str:
    """Return the table, in Markdown, as docs/deploy.md has it."""
    lines = [
        f"{report.machine}; " + ", ".join(f"{key} {text}" for key, text in report.versions.items()),
        "sizes in bytes: " + ", ".join(f"{key} {size}" for key, size in report.sizes.items()),
        f"the same classes from every runtime of the student: {'yes' if report.equal else 'NO'}",
        f"medians of {report.rounds} paired rounds, quartiles in brackets",
        "",
        "| threads | batch | runtime | us an image | speedup |",
        "|---|---|---|---|---|",
    ]
    for one in report.timings:
        low, middle, high = one.microseconds
        slow, ratio, fast = one.speedup
        lines.append(
            f"| {one.threads} | {one.batch} | {one.runtime} | {middle:.1f} [{low:.1f}, {high:.1f}] "
            f"| {ratio:.2f} [{slow:.2f}, {fast:.2f}] |"
        )
    return "\n".join(lines)
