import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitstill.data import Digits
from bitstill.errors import UserError


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    cache = str(tmp_path_factory.mktemp("cache"))
    return Digits(val_fraction=0.0, split_seed=0, cache=cache)


def test_splits(digits: Digits) -> None:
    data = digits.load()
    assert (len(data.train), len(data.val), len(data.test), data.classes) == (1437, 0, 360, 10)
    assert data.train.images.shape == (1437, 32, 32, 3)
    assert data.val.images.shape == (0, 32, 32, 3)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    assert int(data.train.images.max()) == 255
    assert data.train.labels.unique().tolist() == list(range(10))
    assert data.test.labels.bincount().min() > 20


def test_every_digit_is_in_one_split(digits: Digits) -> None:
    from sklearn.datasets import load_digits

    data = digits.load()
    labels = torch.cat([data.train.labels, data.test.labels])
    assert labels.bincount().tolist() == np.bincount(load_digits().target).tolist()


def test_images_are_grey_and_enlarged(digits: Digits) -> None:
    images = digits.load().train.images
    assert (images[..., 0] == images[..., 1]).all()
    assert (images[..., 0] == images[..., 2]).all()
    centres = images[:, 1::4, 1::4, 0]  # a quarter of a pixel from the centres of the 8x8 ones
    assert centres.float().std() > 50


def test_validation_comes_from_training_alone(digits: Digits) -> None:
    plain = digits.load()
    data = dataclasses.replace(digits, val_fraction=0.1).load()
    assert (len(data.train), len(data.val)) == (1293, 144)
    assert torch.equal(data.test.images, plain.test.images)
    both = torch.cat([data.train.images, data.val.images]).flatten(1).unique(dim=0)
    assert torch.equal(both, plain.train.images.flatten(1).unique(dim=0))


def test_content_is_what_it_was(digits: Digits) -> None:
    # A change of scikit-learn, NumPy or Pillow that changes the images must not go unnoticed.
    known = "d53e6a912629f93a389470ae1771580f3d9bfa7bfbdd343718941d0e59886316"
    assert dataclasses.replace(digits, checksum=known).load().classes == 10


def test_other_checksum_is_refused(digits: Digits) -> None:
    with pytest.raises(UserError, match=r"^data.checksum: .* have SHA-256 \w{64}, expected 1234: "):
        dataclasses.replace(digits, checksum="1234").identity()


def test_options_are_checked_when_used_and_before_decoding(options: dict[str, Any]) -> None:
    source = Digits(**{**options, "val_fraction": 1.5})
    with pytest.raises(UserError, match=r"^data.val_fraction=1.5 is not"):
        source.identity()
    assert not Path(options["cache"]).exists()
