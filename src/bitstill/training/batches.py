"""Batches from tensors in memory: one index operation each, in a reproducible order."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bitstill.data import Split
from bitstill.errors import UserError


class Batch(NamedTuple):
    """The inputs of one training step.

    Attributes:
        images: uint8, (batch, 32, 32, 3).
        labels: int64, (batch,).
        teacher_logits: float32, (batch, classes); None if the loss does not read them.
    """

    images: Tensor
    labels: Tensor
    teacher_logits: Tensor | None = None


class EpochOrder:
    """A fresh permutation of the images for every epoch, determined by seed and epoch alone.

    So a resumed run sees the order that it would have seen without the stop. Images that do not
    fill a last batch are dropped, a few different ones each epoch. (The published code carried them
    over into the next epoch.)
    """

    def __init__(self, total: int, *, batch_size: int, seed: int) -> None:
        self.total, self.batch_size, self.seed = total, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.total // self.batch_size

    def indices(self) -> Tensor:
        """Return the indices of the images in all of the epoch's batches, batch after batch."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.total)
        return torch.from_numpy(order[: len(self) * self.batch_size])


class Batches:
    """The training batches of one epoch after another, for a Lightning Trainer.

    Lightning keeps ``state_dict`` in its checkpoints: a run that was stopped within an epoch
    continues with the next batch.

    Args:
        split: images and labels.
        teacher_logits: logits for the images, in their order, (N, classes); None if the loss does
            not read them.
        batch_size: images in each batch.
        seed: seed of the order.

    Attributes:
        sampler: the order, in the attribute whose ``set_epoch`` Lightning calls.

    Raises:
        UserError: there are more or fewer logits than images.
    """

    def __init__(
        self, split: Split, teacher_logits: Tensor | None, *, batch_size: int, seed: int
    ) -> None:
        if teacher_logits is not None and len(teacher_logits) != len(split):
            raise UserError(
                f"{len(teacher_logits)} teacher logits for {len(split)} images: give one row an "
                "image, in their order"
            )
        self.split, self.teacher_logits = split, teacher_logits
        self.sampler = EpochOrder(len(split), batch_size=batch_size, seed=seed)
        self._given = self._first = 0

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the epoch have been given; 0 if the epoch is complete."""
        return {"given": self._given % len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next epoch after the batches that were already given."""
        self._first = state["given"]

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            raise UserError("Batches are all of an epoch's: train in one process, on one device")
        self._given, self._first = self._first, 0
        # Copy the whole epoch's indices at once, since Python waits for each copy to a GPU.
        order = self.sampler.indices().to(self.split.labels.device)
        for index in islice(order.split(self.sampler.batch_size), self._given, None):
            self._given += 1
            # Indexing with `[index]` would move bytes one by one.
            images = self.split.images.index_select(0, index)
            labels = self.split.labels.index_select(0, index)
            if (logits := self.teacher_logits) is not None:
                logits = logits.index_select(0, index)
            yield Batch(images, labels, logits)
