"""What a record says of its run before the first step."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from tests.conftest import Configure

from bitstill.configuration.shipped import conf_directory
from bitstill.data import ImageData, Split
from bitstill.training.provenance import git_commit, new_record


def test_a_checkout_without_git_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr("bitstill.training.provenance.conf_directory", lambda: tmp_path / "conf")
    monkeypatch.setenv("PATH", "")
    assert git_commit.__wrapped__() is None


def test_a_checkout_has_the_commit_that_is_checked_out() -> None:
    root = conf_directory().parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no checkout, or no git")
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    found = git_commit.__wrapped__()
    assert found is not None
    assert found.removesuffix("-dirty") == said.strip()


def test_code_that_was_changed_since_is_of_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("git") is None:
        pytest.skip("no git")

    def git(*arguments: str) -> None:
        settings = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(tmp_path), *settings, *arguments]
        subprocess.run(command, capture_output=True, check=True)  # noqa: S603

    for name in ("src", "conf", "docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("committed")
    git("init")
    monkeypatch.setattr("bitstill.training.provenance.conf_directory", lambda: tmp_path / "conf")
    assert git_commit.__wrapped__() is None, "nothing is committed yet"
    git("add", ".")
    git("commit", "-m", "all")
    (tmp_path / "docs" / "file").write_text("changed")
    clean = git_commit.__wrapped__()
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "conf" / "new").write_text("added")
    assert git_commit.__wrapped__() == f"{clean}-dirty"


@pytest.fixture
def data() -> ImageData:
    """One to three black images a split."""

    def split(count: int) -> Split:
        images = torch.zeros(count, 32, 32, 3, dtype=torch.uint8)
        return Split(images, torch.zeros(count, dtype=torch.int64))

    return ImageData(
        train=split(3), val=split(2), test=split(1), names=("cat", "dog"), identity="d" * 64
    )


def test_a_record_says_how_many_images_a_split_has(configure: Configure, data: ImageData) -> None:
    assert new_record(configure(None), data).images == {"train": 3, "val": 2, "test": 1}


def test_a_record_names_the_classes(configure: Configure, data: ImageData) -> None:
    assert new_record(configure(None), data).classes == ["cat", "dog"]


def test_a_record_says_which_code_computes_and_where(
    configure: Configure, data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "bitstill.training.provenance"
    monkeypatch.setattr(f"{place}.git_commit", lambda: "c" * 40)
    monkeypatch.setattr(f"{place}.device_name", lambda trainer: trainer.accelerator)
    record = new_record(configure(None), data)
    assert (record.git_commit, record.device) == ("c" * 40, "cpu")
