"""Errors: one line for what a user can mend, a traceback for a defect, nothing for who has left."""

import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest
from hydra.errors import MissingConfigException
from joblib.externals.loky import get_reusable_executor
from tests.conftest import SMALL, Train

from bitstill import application
from bitstill.cli import main
from bitstill.explanations import explain, print_error
from bitstill.training.tasks import DivergedError


def test_a_link_to_nowhere_is_said(train: Train, tmp_path: Path) -> None:
    """As to a disk that is not mounted."""
    link = tmp_path / "output"
    link.symlink_to(tmp_path / "nowhere")
    code, _, err = train(*SMALL, f"paths.output={link}")
    assert code == 2
    assert err.splitlines()[-1].startswith(f"bitstill: {link}")
    assert "is a link to what is not there" in err


def test_a_folder_that_nobody_can_make_is_said(train: Train) -> None:
    """The one above it is there, as under an automounter."""
    code, _, err = train(*SMALL, "paths.output=/proc/x")
    assert code == 2
    assert err.splitlines()[-1].endswith("'/proc/x': mend that, and run the same command again")


@pytest.mark.parametrize("name", ["of two\nlines", "of-\u2028-more", f"{'x' * 100}/" * 50])
def test_an_error_is_one_line_whatever_a_name_is(command: Train, name: str) -> None:
    """A long name does not bury what to do."""
    code, out, err = command("status", name)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("bitstill: ")
    assert err.endswith(("such as multirun/quick\n", "run the same command again\n"))
    assert len(err) < 1000


def test_full_errors_are_for_developers(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["bitstill", "train", "loss=hrad"])
    with pytest.raises(MissingConfigException):
        main()


def test_so_are_full_errors_of_a_run(
    restored: None, few_images: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    too_high = "schedule.learning_rates=[1e36,1e36,1e36]"
    with pytest.raises(DivergedError):
        application.train([*few_images, f"paths.output={tmp_path}", too_high])


def test_a_defect_of_ours_shows_its_traceback(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bitstill.train

    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(bitstill.train, "run", broken)
    code, _, err = train(f"paths.output={tmp_path}")
    assert code == 1
    assert "Traceback" in err
    assert "ZeroDivisionError: ours" in err


PLAN = ["-m", "hydra.sweeper.plan_only=true", "loss=hard"]


@pytest.mark.parametrize("shown", [["--help"], ["--cfg", "job"], ["--hydra-help"], PLAN])
def test_a_reader_that_has_left_is_told_nothing(shown: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "bitstill", "train", *shown]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


class _PollOfMacOS:
    """Tells nothing of a file that it is asked for nothing of: no error, and no end either."""

    def __init__(self, poll: Callable[[], select.poll] = select.poll) -> None:
        self._poll = poll()

    def register(self, file: int, events: int) -> None:
        if events:
            self._poll.register(file, events)

    def poll(self, milliseconds: int) -> list[tuple[int, int]]:
        return self._poll.poll(milliseconds)


@pytest.mark.parametrize("poll", [select.poll, _PollOfMacOS])
@pytest.mark.parametrize("has_left", [True, False])
def test_only_a_reader_that_has_left_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    poll: Callable[[], object],
    has_left: bool,
) -> None:
    """Another pipe that is broken is a defect."""
    reading, writing = os.pipe()
    if has_left:
        os.close(reading)
    monkeypatch.setattr(select, "poll", poll)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert print_error(BrokenPipeError()) == 1
    assert ("BrokenPipeError" in capsys.readouterr().err) is not has_left
    if not has_left:
        os.close(reading)


@pytest.mark.parametrize("command", ["train --cfg job", "report /", "export /"])
def test_a_folder_that_is_gone_is_said(tmp_path: Path, command: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    script = f"rmdir {place}; exec {sys.executable} -P -m bitstill {command}"
    done = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", script], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    line = "bitstill: the folder that you are in is not there any more: cd to another"
    assert done.stderr.splitlines() == [line]


def test_what_a_worker_raises_is_not_blamed_on_its_launcher() -> None:
    with pytest.raises(ValueError, match="invalid literal") as caught:
        joblib.Parallel(n_jobs=2)(joblib.delayed(int)(text) for text in "ab")
    get_reusable_executor().shutdown()
    assert explain(caught.value, []) is None, "it has a traceback, and the worker's"
