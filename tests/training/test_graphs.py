"""CUDA graphs: what is put back, what is said where there are none, and on a GPU the same bits."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import Configure
from tests.trained import same_results, trained
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import bitstill.training.tasks
from bitstill.losses import constant_weight, soft_hard
from bitstill.models import Network, Student, Teacher
from bitstill.quantizers import Quantizer
from bitstill.schema import ScheduleConfig
from bitstill.training.batches import Batch
from bitstill.training.graphs import replay_from_graphs
from bitstill.training.tasks import StudentTask, Task, TeacherTask

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def capture_by_steps(network: nn.Module, samples: tuple[Tensor, ...]) -> nn.Module:
    """Do what capturing does to a network: some steps."""
    assert not torch.is_autocast_cache_enabled()
    for _ in range(3):
        network(*samples).sum().backward()
    return network


@pytest.mark.parametrize("kind", [Student, Teacher])
@pytest.mark.parametrize("bf16", [False, True])
def test_statistics_are_as_before(
    monkeypatch: pytest.MonkeyPatch, one_thread: None, kind: type[Student | Teacher], bf16: bool
) -> None:
    dtypes = []
    network = kind()
    network.classifier.register_forward_hook(lambda *found: dtypes.append(found[-1].dtype))
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture_by_steps)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        replay_from_graphs(network, torch.rand(4, 3, 32, 32))
    assert dtypes == 3 * [torch.bfloat16 if bf16 else torch.float32]
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def in_capture() -> RuntimeError:
    """Return what the end of a capture raises after an operation in it."""
    try:
        try:
            raise RuntimeError("not permitted\nand more")
        finally:
            raise RuntimeError("failed due to a previous error during capture")
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    "error", [RuntimeError("not permitted\nand more"), AssertionError(), in_capture()]
)
def test_without_graphs_a_warning_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    network = Student()
    replay_from_graphs(network, torch.rand(2, 3, 32, 32))
    why = "not permitted" if str(error) else "AssertionError"
    assert caplog.messages == [f"no CUDA graphs ({why}): each operation is launched by itself"]
    network(torch.rand(2, 3, 32, 32)).sum().backward()


def test_graphs_are_forgotten_when_training_ends(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored: None
) -> None:
    """The weights move to the CPU then, and a second fit would replay them from where they were."""
    networks = []

    def capture(task: Task) -> None:
        networks.append(task.network)
        task.network.forward = task.network.forward  # type: ignore[method-assign]  # as torch does

    monkeypatch.setattr(Task, "on_train_start", capture)
    trained(configure(tmp_path, "loss=gt_soft_hard"), tmp_path)
    assert len(networks) == 1
    assert "forward" not in vars(networks[0])
    networks[0].forward = networks[0].forward  # type: ignore[method-assign]
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture_by_steps)
    replay_from_graphs(networks[0].train(), torch.rand(4, 3, 32, 32))
    assert "forward" not in vars(networks[0])


class _Devices(TorchDispatchMode):
    """Notes where the tensors of all operations lie, those of a backward pass, too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[str] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, found))
        self.seen |= {one.device.type for one in leaves if isinstance(one, Tensor)}
        return found


@pytest.mark.parametrize(
    "network",
    [Teacher, Student]
    + [
        partial(Student, quantizer=Quantizer(method, weight_bits, activation_bits))
        for method in ("mean_scaled", "dorefa")
        for weight_bits, activation_bits in ((2, 1), (1, 2), (8, 8), (None, None))
    ],
)
def test_no_operation_of_a_step_waits_for_another_device_or_copies_to_it(
    network: Callable[[], Network],
) -> None:
    """Neither can be captured. Here nothing has values, so whatever waits for one raises."""
    schedule, there = ScheduleConfig(4, 8, [0.01], [], 1e-10), torch.device("meta")
    task: Task = TeacherTask(network(), schedule)
    if network is not Teacher:
        weight, loss = partial(constant_weight, value=225.0), partial(soft_hard, temperature=15.0)
        task = StudentTask(network(), schedule, loss=loss, soft_weight=weight)
    task.to(there).train()
    images = torch.empty((8, 32, 32, 3), dtype=torch.uint8, device=there)
    labels = torch.empty(8, dtype=torch.int64, device=there)
    batch = Batch(images, labels, torch.empty((8, 10), device=there))
    task.training_step(batch, 0).backward()  # the sums of the epoch move
    with _Devices() as devices:
        task.training_step(batch, 0).backward()
    assert devices.seen == {"meta"}


def test_a_cpu_has_none(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored: None
) -> None:
    monkeypatch.delattr(bitstill.training.tasks, "replay_from_graphs")
    assert trained(configure(tmp_path, "loss=gt_soft_hard"), tmp_path).record.status == "done"


@needs_gpu
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("model", ["loss=soft_hard", "model=teacher", "quantizer=dorefa"])
def test_replayed_steps_have_the_bits_of_single_operations(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    restored: None,
    caplog: pytest.LogCaptureFixture,
    model: str,
    precision: str,
) -> None:
    given = ("trainer=gpu", f"trainer.precision={precision}", model)
    replayed = trained(configure(tmp_path / "replayed", *given), tmp_path / "replayed")
    assert "no CUDA graphs" not in caplog.text
    monkeypatch.setattr(bitstill.training.tasks, "replay_from_graphs", lambda *_: None)
    plain = trained(configure(tmp_path / "plain", *given), tmp_path / "plain")
    same_results(replayed.paths, plain.paths)
