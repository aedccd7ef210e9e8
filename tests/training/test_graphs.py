"""CUDA graphs: what is put back, what is said where there are none, and on a GPU the same bits."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.trained import same_results, trained
from torch import Tensor, nn

import bitstill.training.tasks
from bitstill.models import Student, Teacher
from bitstill.schema import TrainConfig
from bitstill.training.graphs import replay_from_graphs
from bitstill.training.tasks import Task

Configure = Callable[..., TrainConfig]

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
