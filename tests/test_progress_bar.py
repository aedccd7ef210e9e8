"""What a terminal shows of a training."""

from pathlib import Path

import pytest
from tests.conftest import Configure

from bitstill.train import run


@pytest.mark.slow
def test_the_bar_says_whose_it_is_and_counts_from_one(
    configure: Configure,
    few_images: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored: None,
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "120")
    config = configure(tmp_path, *few_images, "loss=soft", "schedule.epochs=2")
    record = run(config, str(tmp_path / "run"), progress=True)
    shown = capsys.readouterr().out
    assert record.status == "done"
    assert shown.index("teacher, epoch 1/1") < shown.index("soft T=15, epoch 1/2")
    assert shown.index("soft T=15, epoch 1/2") < shown.index("soft T=15, epoch 2/2")
    assert "Epoch" not in shown
