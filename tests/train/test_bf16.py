"""bf16 is for training, where the processor has it."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import Configure
from tests.trained import trained

import bitstill.train
from bitstill.models import to_input
from bitstill.runs.identity import identity as identity_of

pytestmark = pytest.mark.usefixtures("restored")


@pytest.mark.parametrize("loss", ["hard", "soft_hard"])
def test_bf16_trains_and_nothing_else(
    loss: str,
    configure: Configure,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    few_images: tuple[str, ...],
) -> None:
    """Weights stay float32, and what is recorded is what the integers score."""
    # A teacher convolves in bf16, which takes long where the processor has no instructions for it.
    given = (f"loss={loss}", *(few_images if loss == "soft_hard" else ()))
    with caplog.at_level(logging.INFO, logger="bitstill"):
        run = trained(configure(tmp_path, *given, "trainer.precision=bf16"), tmp_path)
    assert {tensor.dtype for tensor in load_file(run.paths.weights).values()} == {
        torch.float32,
        torch.int64,  # num_batches_tracked
    }
    test = run.config.data.load().test
    predicted = bitstill.load(run.paths.packed).predict(test.images.numpy())
    assert (predicted == test.labels.numpy()).mean() == run.test_accuracy
    network = run.network(run.paths.weights, "precise").eval()
    with torch.no_grad():
        floats = network(to_input(test.images)).argmax(1).numpy()
    wrong = (floats != predicted).sum()
    differs = f"rounds, {wrong} of {len(test)} test images would be classified differently"
    assert differs in caplog.text
    full = configure(tmp_path, *given)
    assert identity_of(full, full.data.identity()) != run.record.identity
