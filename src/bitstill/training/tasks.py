"""The LightningModules that train a teacher and a student."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitstill.errors import UserError
from bitstill.losses import hard
from bitstill.models import Network, to_input
from bitstill.schema import ScheduleConfig
from bitstill.training.batches import Batch
from bitstill.training.graphs import forget_graphs, replay_from_graphs
from bitstill.training.lightning import pl


class DivergedError(UserError):
    """Loss, weights or statistics of a run or of its teacher are no longer finite numbers."""


def adam(network: nn.Module, *, l2: float) -> torch.optim.Adam:
    """Return Adam with the published L2 term on convolution and fully connected weights.

    ``l2 * sum(w^2) / 2`` has the gradient ``l2 * w``, which is what torch's (coupled) weight decay
    adds, so the term needs no separate pass. Its value is not part of the reported loss: at the
    published 1e-10 it is below float32's resolution there.
    """
    weights = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in network.parameters() if parameter.dim() <= 1]
    groups = [{"params": weights, "weight_decay": l2}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.Adam(groups, fused=True)


class Task(pl.LightningModule, ABC):
    """What teacher and student training share: Adam and the piecewise learning rate."""

    def __init__(self, network: Network, schedule: ScheduleConfig) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule
        self._sums = torch.zeros(3)  # of an epoch so far: loss, right answers, images

    @abstractmethod
    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's logits, (N, classes), of images uint8, (N, 32, 32, 3).

        Raises:
            UserError: the images have another type, so they may already be scaled.
        """
        if images.dtype != torch.uint8:
            raise UserError(f"images are {images.dtype}: give uint8, (N, 32, 32, 3), 0..255")
        logits: Tensor = self.network(to_input(images))
        return logits

    def training_step(self, batch: Sequence[Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch: a :class:`Batch`, or a DataLoader's sequence of its fields.

        Raises:
            DivergedError: the loss is NaN or infinite; checked here only on a CPU.
        """
        batch = Batch(*batch)
        logits = self(batch.images).float()  # they may be bf16
        loss = self.loss(logits, batch)
        if loss.device.type == "cpu":  # on a GPU it would wait: there the epoch's sum is checked
            self._check_finite(loss.item())
        right = (logits.detach().argmax(dim=1) == batch.labels).float().mean()
        self._add(loss.detach(), right, len(batch.labels))
        return loss

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the logits of a batch's images, whatever else is in it."""
        logits: Tensor = self(batch[0] if isinstance(batch, list | tuple) else batch)
        return logits

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise DivergedError(
                f"the training loss became {loss} in epoch {self.current_epoch + 1}: "
                "lower schedule.learning_rates or soft_weight, or raise a temperature below 1"
            )

    def _add(self, loss: Tensor, right: Tensor, count: int) -> None:
        """Add a batch to the epoch's sums; Lightning's own are lost on resume within an epoch."""
        self._sums = self._sums.to(loss.device)
        self._sums += torch.stack([loss * count, right * count, torch.full_like(loss, count)])

    def training_metrics(self) -> dict[str, float]:
        """Return the epoch's training metrics, each batch measured with the weights at its step.

        Raises:
            DivergedError: the loss is NaN or infinite.
        """
        loss, right = (self._sums[:2] / self._sums[2]).tolist()
        self._check_finite(loss)
        return {"train/loss": loss, "train/accuracy": right}

    def on_train_epoch_end(self) -> None:
        """Log the epoch's metrics for Lightning's own callbacks, such as EarlyStopping."""
        self.log_dict(self.training_metrics())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the sums of an unfinished epoch."""
        checkpoint["epoch_sums"] = self._sums

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the sums."""
        self._sums = checkpoint["epoch_sums"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam; ``on_train_epoch_start`` sets its rate."""
        return adam(self.network, l2=self.schedule.l2)

    def epoch_settings(self) -> dict[str, float]:
        """Return the settings that change from epoch to epoch, by their names in the curves."""
        return {"learning_rate": self.schedule.learning_rate(self.current_epoch)}

    def on_train_start(self) -> None:
        """On a GPU, launch a step's operations together.

        This excludes gradients accumulated over batches, as each replay overwrites the last one's.
        """
        if self.device.type == "cuda" and self.trainer.accumulate_grad_batches == 1:
            images = torch.zeros((self.schedule.batch_size, 32, 32, 3), device=self.device)
            with self.trainer.precision_plugin.forward_context():
                replay_from_graphs(self.network, to_input(images))

    def on_train_end(self) -> None:
        """Stop replaying graphs, since the weights move to the CPU."""
        forget_graphs(self.network)

    def on_train_epoch_start(self) -> None:
        """Set the epoch's learning rate, and reset its sums unless the epoch is being resumed."""
        if self.trainer.accumulate_grad_batches != 1:  # a callback may just have changed it
            forget_graphs(self.network)
        self._sums.zero_()
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]  # there is one
            group["lr"] = self.schedule.learning_rate(self.current_epoch)


class TeacherTask(Task):
    """Cross-entropy with the labels."""

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return CE(y, z)."""
        return hard(logits, batch.labels, temperature=1)


class StudentTask(Task):
    """Trains with a distillation loss; the teacher enters only by its stored logits.

    Args:
        network: the student.
        schedule: epochs, rates and L2.
        loss: one of :mod:`bitstill.losses`, or of your own, with its temperature; its signature
            names the parts of a batch that it reads, and whether it reads ``progress``.
        soft_weight: c as a function of the finished share of training; None if the loss has only
            one term.
    """

    def __init__(
        self,
        network: Network,
        schedule: ScheduleConfig,
        *,
        loss: Callable[..., Tensor],
        soft_weight: Callable[[float], float] | None,
    ) -> None:
        super().__init__(network, schedule)
        self._loss, self._soft_weight = loss, soft_weight
        named = inspect.signature(loss).parameters
        self._reads = [name for name in ("teacher_logits", "labels") if name in named]
        self._reads_progress = "progress" in named

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the configured loss with this epoch's factor c."""
        inputs: dict[str, Any] = {name: getattr(batch, name) for name in self._reads}
        if missing := [name for name, value in inputs.items() if value is None]:
            raise UserError(
                f"the loss reads {missing[0]}, and the batch has none: give Batches the teacher's "
                "logits over the training images"
            )
        if self._reads_progress:
            inputs["progress"] = self._progress
        return self._loss(logits, **inputs, **self._factor())

    @property
    def _progress(self) -> float:
        """The finished share of training when the epoch began, in [0, 1]."""
        # A user's own Trainer may have more epochs than the schedule; the rest then counts as 1.
        return min(1.0, self.current_epoch / self.schedule.epochs)

    def _factor(self) -> dict[str, float]:
        """Return this epoch's factor c by its name; nothing for a loss of one term."""
        if self._soft_weight is None:
            return {}
        return {"soft_weight": self._soft_weight(self._progress)}

    def epoch_settings(self) -> dict[str, float]:
        """Return the learning rate and, for a loss with two terms, the factor c."""
        return super().epoch_settings() | self._factor()
