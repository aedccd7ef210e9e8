"""The handwritten digits that come with scikit-learn: small, and always available."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitstill.data.source import Decoded, ImageSource, Part
from bitstill.topology import SIDE

_BRIGHTEST = 16
_TEST_COUNT = 360  # a fifth of 1,797
_TEST_SEED = 1797  # not a setting: it is part of what this data set is


@dataclass(frozen=True, kw_only=True)
class Digits(ImageSource):
    """scikit-learn's 1,797 digits of 8x8 grey values 0..16, enlarged to 32x32 RGB (bilinear).

    For trying things out: no download, 1,437 training and 360 test images. The test images are
    the same always, chosen by a fixed permutation.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test
    set, as scikit-learn ships it).
    """

    val_fraction: float

    def _locate(self) -> Sequence[Path]:
        return ()

    def _decode(self, files: Sequence[Path]) -> Decoded:
        from PIL import Image
        from sklearn.datasets import load_digits

        source = load_digits()
        grey = np.floor(source.images * (255 / _BRIGHTEST) + 0.5).astype(np.uint8)
        enlarged = [
            Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for image in grey
        ]
        images = np.stack([np.asarray(image.convert("RGB")) for image in enlarged])
        labels = source.target.astype(np.int64)
        order = np.random.default_rng(_TEST_SEED).permutation(len(labels))
        test, train = np.sort(order[:_TEST_COUNT]), np.sort(order[_TEST_COUNT:])
        return Decoded(
            train=Part(images[train], labels[train]),
            test=Part(images[test], labels[test]),
            classes=10,
        )
