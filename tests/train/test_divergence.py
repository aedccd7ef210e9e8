"""A run whose numbers are lost ends, and keeps none of them."""

from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from tests.conftest import Configure
from tests.trained import trained
from torch import Tensor

from bitstill.configuration.check import check
from bitstill.models import Student, Teacher
from bitstill.training.tasks import DivergedError, Task, TeacherTask
from bitstill.training.weights import are_finite

pytestmark = pytest.mark.usefixtures("restored")


def test_a_teacher_that_diverges_is_not_its_student(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: object, logits: Tensor, batch: object) -> Tensor:
        return logits.sum() * torch.nan

    monkeypatch.setattr(TeacherTask, "loss", lost)
    with pytest.raises(DivergedError, match=r"^its teacher failed: the training loss became nan"):
        trained(configure(tmp_path, "loss=soft"), tmp_path)


@pytest.mark.parametrize("model", ["teacher", "student"])
def test_an_epoch_whose_last_step_diverges_is_not_kept(
    model: str, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(self: Task, *step: object) -> None:
        self.network.classifier.bias.data[3] = torch.inf

    monkeypatch.setattr(Task, "on_train_batch_end", diverge)
    config = configure(tmp_path, f"model={model}", "schedule.batch_size=1280")
    with pytest.raises(DivergedError, match=r"the weights became NaN or infinite in epoch 1: "):
        trained(config, tmp_path)
    assert not list(tmp_path.glob("**/metrics.csv"))


def test_a_gpu_is_asked_at_the_epochs_end(default_run: DictConfig) -> None:
    """Where no step is waited for, the sum over the epoch tells."""
    config = check(default_run)
    task = TeacherTask(Teacher(), config.schedule)
    task._add(torch.tensor(2.0), torch.tensor(0.5), 4)
    assert task.training_metrics() == {"train/loss": 2.0, "train/accuracy": 0.5}
    task._add(torch.tensor(torch.inf), torch.tensor(0.5), 4)
    task._add(torch.tensor(2.0), torch.tensor(0.5), 4)
    with pytest.raises(DivergedError, match="the training loss became inf in epoch 1: lower"):
        task.training_metrics()


@pytest.mark.parametrize("model", [Teacher, Student])
@pytest.mark.parametrize("statistic", [0, 1])
def test_statistics_that_are_no_numbers_are_not_finite(
    model: type[Teacher | Student], statistic: int
) -> None:
    network = model()
    assert are_finite(network)
    network.stages()[3].statistics[statistic][5] = torch.nan
    assert not are_finite(network)
