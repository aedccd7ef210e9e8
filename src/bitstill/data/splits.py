"""The data of a run: a training, a validation and a test split."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bitstill.errors import UserError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels, in memory that processes share as long as none writes to it.

    Attributes:
        images: uint8, shape (N, 32, 32, 3), channels last, 0..255.
        labels: int64, shape (N,), 0..classes-1.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class ImageData:
    """The three splits of a source.

    Attributes:
        train: what is left of the source's training images.
        val: the part taken from them, or the source's own; length 0 with `val_fraction=0`.
        test: the source's test images, all of them.
        names: of the classes, by label: their numbers where they have no others.
        identity: SHA-256 (hex) of everything that decides which images are trained on, and of the
            split's seed even where there is no split.
    """

    train: Split
    val: Split
    test: Split
    names: tuple[str, ...]
    identity: str

    @property
    def classes(self) -> int:
        """The number of classes; labels are 0..classes-1."""
        return len(self.names)


def evenly(total: int, count: int) -> NDArray[np.intp]:
    """Return up to ``count`` indices spread evenly over ``total``: data may be sorted by class."""
    count = min(count, total)
    return np.arange(count) * total // count


def check_split(*, val_fraction: float | None, split_seed: int) -> None:
    """Refuse fractions and seeds that can split no number of images.

    Raises:
        UserError: the fraction is outside [0, 1) or the seed is negative.
    """
    if val_fraction is not None and not 0 <= val_fraction < 1:
        raise UserError(
            f"data.val_fraction={val_fraction} is not a fraction of the training images: "
            f"choose one in [0, 1), for example 0.1; 0 means no validation split"
        )
    if split_seed < 0:
        raise UserError(
            f"data.split_seed={split_seed} cannot seed a generator: choose an integer of 0 or more"
        )


def validation_count(count: int, *, val_fraction: float | None) -> int:
    """The number of validation images among `count` training images, halves rounded up.

    It is 0 for None, which means a validation split of the source's own.

    Raises:
        UserError: the fraction leaves no image to train on.
    """
    taken = math.floor(count * (val_fraction or 0) + 0.5)
    if taken >= count:
        raise UserError(
            f"data.val_fraction={val_fraction} takes all {count} training images for validation: "
            f"choose a smaller fraction in [0, 1)"
        )
    return taken


def train_and_val_indices(
    count: int, *, val_fraction: float, split_seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Divide `count` training images at random into training and validation.

    The generator is the split's own and never sees a run's seed: all seeds of a study train on,
    and are selected by, the same images. Both parts keep the images in their original order.

    Returns:
        The indices of either part, ascending; together they are 0..count-1.

    Raises:
        UserError: as `check_split` and `validation_count` do.
    """
    check_split(val_fraction=val_fraction, split_seed=split_seed)
    taken = validation_count(count, val_fraction=val_fraction)
    order = np.random.default_rng(split_seed).permutation(count)
    return np.sort(order[taken:]), np.sort(order[:taken])
