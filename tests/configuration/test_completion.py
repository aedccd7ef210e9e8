"""What a shell completes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bitstill.configuration.completion import complete


@pytest.mark.parametrize(
    ("words", "incomplete", "found"),
    [
        ([], "loss=", {"loss=hard", "loss=soft", "loss=soft_hard", "loss=gt_soft_hard"}),
        ([], "loss=ha", {"loss=hard"}),
        (["loss"], "ha", {"hard"}),  # bash cuts at "="
        (["loss", "="], "so", {"soft", "soft_hard"}),
        (["loss=soft"], "trainer=g", {"trainer=gpu"}),
        (["loss=soft", "-m"], "trainer=g", {"trainer=gpu"}),
        (["-m"], "trainer=g", {"trainer=gpu"}),
        (["-m"], "loss=hard,so", {"loss=hard,soft", "loss=hard,soft_hard"}),
        (["-m", "loss"], "soft,ha", {"soft,hard"}),
        ([], "logger=[csv,wa", {"logger=[csv,wandb"}),
        ([], "temperature.v", {"temperature.value="}),
        (["experiment", "=", "quick"], "temperature=T15", {"temperature=T15"}),
        (["experiment", "=", "quick", "loss", "="], "ha", {"hard"}),
        (["experiment", "=", "quick", "loss"], "ha", {"hard"}),
        (["--config-dir", "nowhere"], "loss=ha", {"loss=hard"}),
    ],
)
def test_completion(words: list[str], incomplete: str, found: set[str]) -> None:
    assert set(complete(words, incomplete)) == found


def test_choices_in_a_folder_of_ones_own_are_completed(tmp_path: Path) -> None:
    (tmp_path / "temperature").mkdir()
    (tmp_path / "temperature" / "T20.yaml").write_text("value: 20")
    for flag in (["--config-dir", str(tmp_path)], ["loss=soft", f"--config-dir={tmp_path}"]):
        assert complete(flag, "temperature=T2") == ["temperature=T20"]


@pytest.mark.parametrize(
    ("line", "found"),
    [("bitstill train loss=( sch", ""), ("bitstill train experiment = quick trainer = g", "gpu")],
)
def test_what_bash_asks_for(line: str, found: str) -> None:
    """After a mistake nothing: an error would be printed into the line."""
    script = Path(sys.executable).with_name("bitstill")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    variables = {**os.environ, **asked, "_BITSTILL_COMPLETE": "complete_bash"}
    done = subprocess.run([script], env=variables, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.stdout.strip(), done.stderr) == (found, "")
