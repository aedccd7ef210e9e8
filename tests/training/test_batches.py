"""An epoch's order and its batches, by counting."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bitstill.data import Split
from bitstill.errors import UserError
from bitstill.training.batches import Batch, Batches, EpochOrder

SEEDS = st.integers(0, 2**32 - 1)
EPOCHS = st.integers(0, 1000)


def order(total: int, *, batch_size: int, seed: int, epoch: int) -> list[int]:
    found = EpochOrder(total, batch_size=batch_size, seed=seed)
    found.set_epoch(epoch)
    return found.indices().tolist()


@given(total=st.integers(1, 200), data=st.data(), seed=SEEDS, epoch=EPOCHS)
def test_an_epoch_visits_each_image_at_most_once(
    total: int, data: st.DataObject, seed: int, epoch: int
) -> None:
    batch_size = data.draw(st.integers(1, total))
    found = EpochOrder(total, batch_size=batch_size, seed=seed)
    found.set_epoch(epoch)
    visited = found.indices().tolist()
    # Full batches alone; what is left over is less than one of them.
    assert len(found) == total // batch_size
    assert len(visited) == batch_size * len(found)
    assert len(set(visited)) == len(visited)
    assert set(visited) <= set(range(total))
    # A prefix of the permutation that smaller batches would run through.
    whole = order(total, batch_size=1, seed=seed, epoch=epoch)
    assert sorted(whole) == list(range(total))
    assert visited == whole[: len(visited)]


def test_an_epoch_is_shuffled() -> None:
    found = np.array(order(1000, batch_size=10, seed=0, epoch=0))
    assert abs(np.corrcoef(found, np.arange(1000))[0, 1]) < 0.1
    assert (found == np.arange(1000)).sum() < 10


@given(
    pairs=st.lists(st.tuples(SEEDS, EPOCHS), min_size=2, max_size=5, unique=True),
)
def test_order_differs_by_seed_and_by_epoch(pairs: list[tuple[int, int]]) -> None:
    found = [tuple(order(50, batch_size=50, seed=seed, epoch=epoch)) for seed, epoch in pairs]
    assert len(set(found)) == len(pairs)


def test_seed_and_epoch_are_not_taken_for_each_other() -> None:
    """No sum or product of the two: a seed's next epoch is not the next seed's."""
    found = {
        tuple(order(50, batch_size=50, seed=seed, epoch=epoch))
        for seed in range(6)
        for epoch in range(6)
    }
    assert len(found) == 36


def test_dropped_images_are_others_each_epoch() -> None:
    dropped = [
        set(range(11)) - set(order(11, batch_size=4, seed=0, epoch=epoch)) for epoch in range(20)
    ]
    assert all(len(left) == 3 for left in dropped)
    assert set().union(*dropped) == set(range(11))


@given(seed=SEEDS, epoch=EPOCHS, elsewhere=SEEDS)
def test_order_is_decided_by_seed_and_epoch_alone(seed: int, epoch: int, elsewhere: int) -> None:
    expected = order(30, batch_size=7, seed=seed, epoch=epoch)
    state = torch.get_rng_state()
    torch.manual_seed(elsewhere)
    drawn = torch.get_rng_state()
    # A sampler that has run through other epochs before.
    found = EpochOrder(30, batch_size=7, seed=seed)
    for other in (epoch + 1, 0, epoch):
        found.set_epoch(other)
        again = found.indices().tolist()
    assert again == expected
    assert found.indices().tolist() == expected
    assert torch.equal(torch.get_rng_state(), drawn)
    torch.set_rng_state(state)


def test_order_does_not_change_across_versions() -> None:
    # NumPy promises no fixed stream; a change must not go unnoticed.
    assert order(10, batch_size=10, seed=0, epoch=0) == GOLDEN[0, 0]
    assert order(10, batch_size=10, seed=1, epoch=2) == GOLDEN[1, 2]


GOLDEN = {
    (0, 0): [4, 6, 2, 7, 3, 5, 9, 0, 8, 1],
    (1, 2): [8, 5, 6, 0, 9, 1, 4, 3, 7, 2],
}


def test_starts_at_epoch_0() -> None:
    found = EpochOrder(20, batch_size=5, seed=3).indices().tolist()
    assert found == order(20, batch_size=5, seed=3, epoch=0)


def test_batch_of_all_images_is_allowed() -> None:
    assert len(order(5, batch_size=5, seed=0, epoch=0)) == 5


# Batches


def numbered(total: int) -> tuple[Split, Tensor]:
    """Image i is full of i, its label is 2 i, its logits are 10 i, 10 i + 1, 10 i + 2."""
    number = torch.arange(total)
    images = number.to(torch.uint8)[:, None, None, None].expand(-1, 32, 32, 3).contiguous()
    logits = 10.0 * number[:, None] + torch.arange(3)
    return Split(images, 2 * number), logits


def test_images_labels_and_teacher_logits_stay_together() -> None:
    split, logits = numbered(23)
    batches = Batches(split, logits, batch_size=5, seed=4)
    assert len(batches) == 4
    for epoch in range(3):
        batches.sampler.set_epoch(epoch)
        seen = []
        for batch in batches:
            assert isinstance(batch, Batch)
            assert batch.images.shape == (5, 32, 32, 3)
            assert (batch.images.dtype, batch.labels.dtype) == (torch.uint8, torch.int64)
            index = batch.images[:, 0, 0, 0].long()
            assert (batch.images == batch.images[:, :1, :1, :1]).all()
            assert torch.equal(batch.labels, 2 * index)
            assert batch.teacher_logits is not None
            assert torch.equal(batch.teacher_logits, 10.0 * index[:, None] + torch.arange(3))
            seen += index.tolist()
        assert seen == order(23, batch_size=5, seed=4, epoch=epoch)


def test_without_a_teacher_there_are_no_logits() -> None:
    split, _ = numbered(6)
    found = list(Batches(split, None, batch_size=2, seed=0))
    assert len(found) == 3
    assert all(batch.teacher_logits is None for batch in found)


def test_logits_of_other_images_are_refused() -> None:
    split = Split(torch.zeros(6, 32, 32, 3, dtype=torch.uint8), torch.zeros(6, dtype=torch.int64))
    with pytest.raises(UserError, match=r"^4 teacher logits for 6 images: give one row an image"):
        Batches(split, torch.zeros(4, 10), batch_size=2, seed=0)


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """All would train with the same images."""
    split = Split(torch.zeros(6, 32, 32, 3, dtype=torch.uint8), torch.zeros(6, dtype=torch.int64))
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    with pytest.raises(UserError, match=r"train in one process, on one device$"):
        next(iter(Batches(split, None, batch_size=2, seed=0)))


def test_batches_are_copies() -> None:
    """What a step does to its batch does not reach the shared images."""
    split, logits = numbered(6)
    for batch in Batches(split, logits, batch_size=3, seed=0):
        batch.images.zero_()
        batch.labels.zero_()
    assert split.images[:, 0, 0, 0].tolist() == list(range(6))
    assert split.labels.tolist() == [0, 2, 4, 6, 8, 10]


@given(total=st.integers(1, 60), data=st.data(), seed=SEEDS, epoch=EPOCHS)
def test_an_epoch_goes_on_with_the_next_batch(
    total: int, data: st.DataObject, seed: int, epoch: int
) -> None:
    batch_size = data.draw(st.integers(1, total))
    split = Split(torch.zeros(total, 32, 32, 3, dtype=torch.uint8), torch.arange(total))

    def begin() -> Batches:
        batches = Batches(split, None, batch_size=batch_size, seed=seed)
        batches.sampler.set_epoch(epoch)
        return batches

    whole = [batch.labels.tolist() for batch in begin()]
    given_before = data.draw(st.integers(0, len(whole)))
    stopped = begin()
    source = iter(stopped)
    seen = [next(source).labels.tolist() for _ in range(given_before)]
    resumed = begin()
    resumed.load_state_dict(stopped.state_dict())
    rest = [batch.labels.tolist() for batch in resumed]
    # An epoch whose batches have all been given is over: the next one is whole.
    assert (seen if given_before < len(whole) else []) + rest == whole
    assert [batch.labels.tolist() for batch in resumed] == whole
