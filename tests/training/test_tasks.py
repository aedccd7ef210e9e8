"""Training steps against the terms written out; small networks, no data."""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from tests.conftest import Compose
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import bitstill.train
from bitstill.configuration.check import check
from bitstill.data import Split
from bitstill.errors import UserError
from bitstill.losses import (
    constant_weight,
    cosine_weight,
    gt_soft_hard,
    hard,
    linear_weight,
    soft,
    soft_hard,
)
from bitstill.models import Network, Student, Teacher, to_input
from bitstill.schema import ScheduleConfig
from bitstill.train import build_task
from bitstill.training.batches import Batch, Batches
from bitstill.training.tasks import DivergedError, StudentTask, Task, TeacherTask, adam

pytestmark = pytest.mark.usefixtures("one_thread")


def schedule(**changes: Any) -> ScheduleConfig:
    published: dict[str, Any] = {
        "epochs": 60,
        "batch_size": 256,
        "learning_rates": [0.01, 0.001, 0.0005],
        "milestones": [0.25, 0.6666667],
        "l2": 1e-10,
    }
    return ScheduleConfig(**{**published, **changes})


class Linear(nn.Module):
    """Stands in for a network where only its logits matter."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.last = nn.Linear(3, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.last(images.mean(dim=(2, 3)))
        return logits


def linear() -> Network:
    return cast(Network, Linear())


def some_batch(count: int = 4) -> Batch:
    draw = np.random.default_rng(0)
    return Batch(
        torch.from_numpy(draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)),
        torch.from_numpy(draw.integers(0, 3, count)),
        torch.from_numpy(draw.normal(0, 2, (count, 3)).astype(np.float32)),
    )


# Adam and the L2 term


@pytest.mark.parametrize("model", [Teacher, Student])
def test_weight_decay_is_the_published_l2_term(model: type[Teacher] | type[Student]) -> None:
    """Steps with it equal steps on loss + l2 sum(w^2) / 2 over conv and fc weights alone."""
    l2, images = 0.7, torch.rand(3, 4, 3, 32, 32, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3])
    torch.manual_seed(1)
    decayed = model().double()
    explicit = model().double()
    explicit.load_state_dict(decayed.state_dict())
    before = {name: value.detach().clone() for name, value in decayed.named_parameters()}
    one = adam(decayed, l2=l2)
    other = torch.optim.Adam(explicit.parameters(), lr=1e-3)
    for group in one.param_groups:
        group["lr"] = 1e-3
    for x in images:
        one.zero_grad()
        other.zero_grad()
        nn.functional.cross_entropy(decayed(x), labels).backward()
        squares = [
            (parameter**2).sum()
            for name, parameter in explicit.named_parameters()
            if name.endswith(("conv.weight", "classifier.weight"))
        ]
        assert len(squares) == 8
        loss = nn.functional.cross_entropy(explicit(x), labels)
        (loss + l2 * torch.stack(squares).sum() / 2).backward()
        one.step()
        other.step()
    for (name, found), expected in zip(
        decayed.named_parameters(), explicit.parameters(), strict=True
    ):
        # The bias in front of a batch norm has a gradient of rounding errors, and Adam makes
        # steps of any size out of them; its first moment says that there is no L2 in it.
        moment = one.state[found]["exp_avg"]
        torch.testing.assert_close(
            moment, other.state[expected]["exp_avg"], rtol=1e-7, atol=1e-12, msg=name
        )
        if not name.endswith("conv.bias"):
            torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9, msg=name)
            assert not torch.equal(found, before[name])


def test_adam_has_its_usual_constants_and_every_parameter_once() -> None:
    network = Student()
    optimizer = adam(network, l2=0.25)
    groups = optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.25, 0]
    for group in groups:
        assert (group["betas"], group["eps"], group["amsgrad"]) == ((0.9, 0.999), 1e-8, False)
        assert not group.get("decoupled_weight_decay")  # torch 2.6 has no such thing
    owned = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(owned) == sorted(id(parameter) for parameter in network.parameters())


def test_task_hands_its_l2_to_adam() -> None:
    optimizer = TeacherTask(linear(), schedule(l2=0.125)).configure_optimizers()
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.125, 0]


# Learning rates


@pytest.mark.parametrize(
    ("epochs", "first", "second"),
    [(12, 3, 8), (120, 30, 80), (10, 3, 7), (6, 2, 4), (4, 1, 3), (240, 60, 160)],
)
def test_learning_rates_keep_their_shape(epochs: int, first: int, second: int) -> None:
    """A quarter and two thirds of the epochs, to the nearest whole one, halves up."""
    found = [schedule(epochs=epochs).learning_rate(epoch) for epoch in range(epochs)]
    expected = [0.01] * first + [0.001] * (second - first) + [0.0005] * (epochs - second)
    assert found == expected


class Watch(pl.Callback):
    """Writes down what each epoch trains with."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.logged: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any, **settings: Any) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Task)
        self.logged.append({**module.training_metrics(), **module.epoch_settings()})


def trainer(epochs: int, callback: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def fit(task: Task, epochs: int, logits: Tensor | None = None) -> Watch:
    watch, batch = Watch(), some_batch(4)
    batches = Batches(Split(batch.images, batch.labels), logits, batch_size=2, seed=0)
    trainer(epochs, watch).fit(task, batches)
    return watch


def test_every_epoch_trains_with_its_rate() -> None:
    watch = fit(TeacherTask(linear(), schedule(epochs=6)), 6)
    assert watch.rates == [
        [rate, rate] for rate in (0.01, 0.01, 0.001, 0.001, 0.0005, 0.0005) for _ in range(2)
    ]
    assert [one["learning_rate"] for one in watch.logged] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 0.0005, 0.0005]
    )
    assert all("soft_weight" not in one for one in watch.logged)


def test_every_epoch_trains_with_its_soft_weight() -> None:
    """C is a function of the finished part of training: 0, 1/4, 2/4, 3/4."""
    seen = []

    def loss(student_logits: Tensor, labels: Tensor, *, soft_weight: float) -> Tensor:
        seen.append(soft_weight)
        return student_logits.sum() * soft_weight

    task = StudentTask(
        linear(),
        schedule(epochs=4),
        loss=loss,
        soft_weight=functools.partial(linear_weight, initial=8, final=0),
    )
    watch = fit(task, 4)
    assert seen == [8, 8, 6, 6, 4, 4, 2, 2]
    assert [one["soft_weight"] for one in watch.logged] == [8, 6, 4, 2]


def test_behind_the_schedule_c_stays() -> None:
    """In a Trainer of one's own that goes on: below the last value it would be negative."""
    soft_weight = functools.partial(linear_weight, initial=8, final=1)

    def loss(student_logits: Tensor, labels: Tensor, *, soft_weight: float) -> Tensor:
        return student_logits.sum() * soft_weight

    task = StudentTask(linear(), schedule(epochs=2), loss=loss, soft_weight=soft_weight)
    assert [one["soft_weight"] for one in fit(task, 4).logged] == [8, 4.5, 1, 1]


def test_a_loss_of_ones_own_may_read_the_progress() -> None:
    """To anneal its temperature, say; a Trainer of one's own goes on for an epoch."""
    seen = []

    def loss(student_logits: Tensor, *, progress: float) -> Tensor:
        seen.append(progress)
        return student_logits.sum()

    fit(StudentTask(linear(), schedule(epochs=2), loss=loss, soft_weight=None), 3)
    assert seen == [0, 0, 0.5, 0.5, 1, 1]


def test_reported_loss_is_the_mean_over_the_epoch() -> None:
    values = iter([1.0, 3.0, 10.0, 20.0])

    def loss(student_logits: Tensor, labels: Tensor) -> Tensor:
        return student_logits.sum() * 0 + next(values)

    watch = fit(StudentTask(linear(), schedule(epochs=2), loss=loss, soft_weight=None), 2)
    assert [one["train/loss"] for one in watch.logged] == [2, 15]


def test_what_is_reported_is_the_mean_over_images_and_not_over_batches() -> None:
    """Three right ones with a loss of 1, and a wrong one with 5: a DataLoader's last batch."""
    values = iter([1.0, 5.0])

    def loss(student_logits: Tensor, labels: Tensor) -> Tensor:
        return student_logits.sum() * 0 + next(values)

    task = StudentTask(linear(), schedule(), loss=loss, soft_weight=None)
    with torch.no_grad():
        task.network.get_parameter("last.weight").zero_()
        task.network.get_parameter("last.bias").copy_(torch.tensor([1.0, 0, 0]))
    for count, label in ((3, 0), (1, 2)):
        labels = torch.full((count,), label)
        task.training_step(some_batch(count)._replace(labels=labels), 0)
    assert task.training_metrics() == {"train/loss": 2.0, "train/accuracy": 0.75}


def test_a_trainer_of_ones_own() -> None:
    """With a DataLoader's batches, and Lightning's own callbacks, which read the metrics."""
    values = iter([3.0, 1.0, *[5.0] * 8])

    def loss(student_logits: Tensor, labels: Tensor) -> Tensor:
        return student_logits.sum() * 0 + next(values)

    task, batch = StudentTask(linear(), schedule(), loss=loss, soft_weight=None), some_batch(4)
    loader = DataLoader(TensorDataset(batch.images, batch.labels), batch_size=2)
    stop = EarlyStopping("train/loss", patience=2)
    own = trainer(9, stop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises more workers
        own.fit(task, loader)
    assert stop.stopped_epoch == 2, "2, 5 and 5: no better for two epochs"
    assert stop.best_score == 2
    assert own.callback_metrics["train/loss"] == 5
    logits = task.network(to_input(batch.images))
    assert torch.equal(task(batch.images), logits)
    predicted = own.predict(task, loader)
    assert predicted is not None
    assert torch.equal(torch.cat(predicted), logits)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^images are torch.float32: give uint8, \(N, 32, 32, 3\)"):
        task(batch.images / 255)


# Divergence


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_diverged_loss_is_refused(value: float) -> None:
    def loss(student_logits: Tensor, labels: Tensor) -> Tensor:
        return student_logits.sum() * value

    task = StudentTask(linear(), schedule(), loss=loss, soft_weight=None)
    with torch.no_grad():
        task.network.get_parameter("last.weight").zero_()
        task.network.get_parameter("last.bias").fill_(1)
    text = (
        rf"^the training loss became {value} in epoch 1: "
        r"lower schedule.learning_rates or soft_weight, or raise a temperature below 1$"
    )
    with pytest.raises(DivergedError, match=text):
        task.training_step(some_batch(), 0)


def test_diverged_epoch_is_named() -> None:
    values = iter([1.0, 1, 1, 1, 1, math.nan])

    def loss(student_logits: Tensor, labels: Tensor) -> Tensor:
        return student_logits.sum() * 0 + next(values)

    task = StudentTask(linear(), schedule(epochs=4), loss=loss, soft_weight=None)
    with pytest.raises(DivergedError, match=r"^the training loss became nan in epoch 3: lower"):
        fit(task, 4)


# What the losses get


def student(loss: Callable[..., Tensor], c: float | None = None) -> StudentTask:
    weight = None if c is None else functools.partial(constant_weight, value=c)
    return StudentTask(linear(), schedule(), loss=loss, soft_weight=weight)


def test_loss_gets_what_its_signature_names_in_any_order() -> None:
    batch, logits = some_batch(), torch.randn(4, 3)
    seen: list[tuple[Any, ...]] = []
    zero = torch.zeros(())

    def labels_alone(student_logits: Tensor, labels: Tensor) -> Tensor:
        seen.append((student_logits, labels))
        return zero

    def teacher_alone(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        seen.append((student_logits, teacher_logits))
        return zero

    def both(
        student_logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, soft_weight: float
    ) -> Tensor:
        seen.append((student_logits, teacher_logits, labels, soft_weight))
        return zero

    student(labels_alone).loss(logits, batch)
    student(teacher_alone).loss(logits, batch)
    student(both, 2.5).loss(logits, batch)
    expected = [
        (logits, batch.labels),
        (logits, batch.teacher_logits),
        (logits, batch.teacher_logits, batch.labels, 2.5),
    ]
    assert len(seen) == len(expected)
    for found, one in zip(seen, expected, strict=True):
        assert len(found) == len(one)
        assert all(a is b or a == b for a, b in zip(found, one, strict=True))


def np_cross_entropy(targets: Any, logits: Any) -> float:
    logarithms = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-(targets * logarithms).sum(axis=1).mean())


def np_softmax(logits: Any) -> Any:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_each_of_the_four_losses_through_the_task() -> None:
    batch, logits = some_batch(), torch.randn(4, 3)
    assert batch.teacher_logits is not None
    z, v = logits.double().numpy(), batch.teacher_logits.double().numpy()
    y = np.eye(3)[batch.labels.numpy()]
    t, c = 15.0, 225.0
    textbook, tempered = np_cross_entropy(y, z), np_cross_entropy(y, z / t)
    by_teacher = np_cross_entropy(np_softmax(v / t), z / t)
    cases: list[tuple[Callable[..., Tensor], float | None, float]] = [
        (hard, None, tempered),
        (soft, None, by_teacher),
        (soft_hard, c, textbook + c * by_teacher),
        (gt_soft_hard, c, textbook + c * tempered),
    ]
    for loss, factor, expected in cases:
        task = student(functools.partial(loss, temperature=t), factor)
        assert task.loss(logits, batch).item() == pytest.approx(expected, rel=1e-5)


def test_losses_without_a_teacher_need_no_logits() -> None:
    batch, logits = some_batch()._replace(teacher_logits=None), torch.randn(4, 3)
    cases: list[tuple[Callable[..., Tensor], float | None]] = [(hard, None), (gt_soft_hard, 4.0)]
    for loss, factor in cases:
        task = student(functools.partial(loss, temperature=2), factor)
        assert task.loss(logits, batch).isfinite()


def test_a_loss_that_reads_a_teacher_wants_its_logits() -> None:
    task = student(functools.partial(soft, temperature=2), None)
    with pytest.raises(UserError, match=r"^the loss reads teacher_logits, and the batch has none"):
        task.loss(torch.randn(4, 3), some_batch()._replace(teacher_logits=None))


def test_teacher_is_trained_with_the_textbook_loss() -> None:
    batch, logits = some_batch(), torch.randn(4, 3)
    found = TeacherTask(linear(), schedule()).loss(logits, batch)
    expected = np_cross_entropy(np.eye(3)[batch.labels.numpy()], logits.double().numpy())
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_loss_is_that_of_the_images_divided_by_255(monkeypatch: pytest.MonkeyPatch) -> None:
    task = TeacherTask(linear(), schedule())
    monkeypatch.setattr(task, "log", lambda *arguments, **settings: None)
    batch = some_batch()
    weight = task.network.get_parameter("last.weight").detach().double().numpy()
    bias = task.network.get_parameter("last.bias").detach().double().numpy()
    logits = batch.images.numpy().mean(axis=(1, 2)) / 255 @ weight.T + bias
    expected = np_cross_entropy(np.eye(3)[batch.labels.numpy()], logits)
    assert task.training_step(batch, 0).item() == pytest.approx(expected, rel=1e-5)


def test_settings_of_an_epoch() -> None:
    weight = functools.partial(cosine_weight, initial=225, final=25)
    task = StudentTask(linear(), schedule(), loss=soft_hard, soft_weight=weight)
    assert task.epoch_settings() == {"learning_rate": 0.01, "soft_weight": 225}
    assert student(hard).epoch_settings() == {"learning_rate": 0.01}
    assert TeacherTask(linear(), schedule()).epoch_settings() == {"learning_rate": 0.01}


def test_teacher_is_no_part_of_a_students_state() -> None:
    """A step that reads teacher logits leaves the state_dict with the student's tensors alone."""
    network = Student(classes=3)
    task = StudentTask(
        network,
        schedule(),
        loss=functools.partial(soft_hard, temperature=15),
        soft_weight=functools.partial(constant_weight, value=225),
    )
    batch = some_batch()
    assert batch.teacher_logits is not None
    kept = batch.teacher_logits.clone()
    fit(task, 1, batch.teacher_logits)
    assert set(task.state_dict()) == {f"network.{name}" for name in network.state_dict()}
    assert {id(p) for p in task.parameters()} == {id(p) for p in network.parameters()}
    assert torch.equal(batch.teacher_logits, kept)
    assert batch.teacher_logits.grad is None


def test_a_loss_of_ones_own_need_not_know_a_temperature(
    compose_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = check(compose_run("data=digits", "loss=soft"))

    def squares(logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return (logits - teacher_logits).square().mean()

    monkeypatch.setattr(bitstill.train, "instantiate", lambda _: squares)
    task = build_task(config, Student())
    batch = Batch(torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64), torch.ones(2, 10))
    assert task.loss(torch.zeros(2, 10), batch) == 1
