"""What wandb's summary says of a run of several sittings."""

from bitstill.loggers.wandb_log import WandbLog


def test_best_and_last_are_of_all_epochs() -> None:
    """Of an accuracy the most is best, of a loss the least; wandb's own know one sitting."""
    log = WandbLog.__new__(WandbLog)
    values = [(0.5, 0.25), (0.125, 0.75), (0.25, 0.5)]
    log._rows = [
        {"epoch": epoch, "learning_rate": 0.1, "train/loss": loss, "test/accuracy": accuracy}
        for epoch, (loss, accuracy) in enumerate(values, start=1)
    ]
    assert log._bests() == {
        "train/loss": {"min": 0.125, "last": 0.25},
        "test/accuracy": {"max": 0.75, "last": 0.5},
    }
