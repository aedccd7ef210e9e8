"""The progress bar of one training in a terminal."""

from bitstill.lightning import pl


class ProgressBar(pl.callbacks.RichProgressBar):
    """Lightning's bar that says whose training it is, and counts epochs from 1, as curves do."""

    def __init__(self, name: str) -> None:
        """Draw it for what ``name`` says, such as ``soft T=15``."""
        super().__init__()
        self._name = name

    # Lightning offers no other place for it before the bar is first drawn.
    def _get_train_description(self, current_epoch: int) -> str:
        return f"{self._name}, epoch {current_epoch + 1}/{self.trainer.max_epochs}"
