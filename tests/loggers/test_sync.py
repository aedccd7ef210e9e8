"""``bitstill sync`` and ``wandb sync`` of a real sweep, to a server on loopback."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Logged, made_up
from tests.wandb_files import files
from tests.wandb_server import WandbServer

from bitstill.errors import SweepFailedError, UserError
from bitstill.loggers import sync as syncing
from bitstill.loggers.names import wandb_id
from bitstill.loggers.sync import _at_work as at_work
from bitstill.loggers.sync import sync
from bitstill.loggers.wandb_files import id_of, mark_sent, unsent
from bitstill.runs import RunPaths, load_sweep
from bitstill.runs.locks import exclusive

SITTING = b"this is not a run"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(logged: Logged, tmp_path: Path) -> Path:
    """The sweep, moved elsewhere and not sent yet."""
    return shutil.copytree(logged.home, tmp_path / "moved", symlinks=True) / "multirun" / "mine"


def mark_of(file: Path) -> Path:
    """Where wandb marks that it has sent a file."""
    return file.with_name(f"{file.name}.synced")


def reaching(server: WandbServer) -> dict[str, str]:
    return {**os.environ, **server.environment}


@pytest.mark.slow
def test_everything_is_sent_once_and_what_was_cut_short_again(
    bitstill: Run, folder: Path, server: WandbServer, logged: Logged
) -> None:
    done = bitstill("sync", str(folder), env=reaching(server))
    assert (done.returncode, done.stdout) == (0, "5 runs sent\n"), done.stderr
    assert set(server.runs) == set(files(folder))
    for record in load_sweep(folder):
        run = server.runs[wandb_id(record, "mine")]
        assert run.exit_code == 0
        assert run.sent_epochs == [1, 2]
        assert run.fields["groupName"] == "mine"
        assert run.config["seed"] == record.seed
        row = record.selections["running"]["best_val"]
        assert row is not None
        assert run.summary["best_val/test_accuracy"] == row["test/accuracy"]
        assert any(name.startswith("media/images/pictures/confusion") for name in run.files)
    kept = [one for one in server.artifacts.values() if one["artifactTypeName"] == "model"]
    assert [one["committed"] for one in kept] == [True, True]
    assert all(len(one["files"]["student.bitstill"]) > 70_000 for one in kept)
    for body in server.received:
        assert not [secret for secret in logged.secrets if secret.encode() in body]

    before = len(server.received)
    done = bitstill("sync", str(folder), env=reaching(server))
    assert (done.returncode, done.stdout) == (0, "all runs were sent before\n")
    assert len(server.received) == before

    first, second = list(files(folder))[:2]
    for name in (first, second):
        [file] = files(folder)[name]
        mark_of(file).unlink()  # as if it had been stopped before that
    done = bitstill("sync", str(folder), env=reaching(server))
    assert done.stdout == "2 runs sent\n"
    assert len(server.runs) == 5
    assert server.runs[second].epochs == [1, 2], "a step that is sent again is the same step"


@pytest.mark.slow
def test_failures_are_listed_and_the_rest_is_sent(
    bitstill: Run, folder: Path, server: WandbServer
) -> None:
    (name, [file]), _, *others = files(folder).items()
    for _, [other] in others:  # one that is sent will do
        shutil.rmtree(other.parent)
    file.write_bytes(SITTING)
    done = bitstill("sync", str(folder), env=reaching(server))
    assert done.returncode == 1
    first, second = done.stderr.strip().splitlines()[-2:]
    assert first == "bitstill: 1 of 2 runs were not sent; the same command goes on:"
    assert second.startswith(f"  {name}: ")
    assert len(server.runs) == 1


@pytest.mark.slow
def test_without_a_key_nothing_is_sent(bitstill: Run, folder: Path, server: WandbServer) -> None:
    environment = reaching(server) | {"HOME": str(folder)}
    del environment["WANDB_API_KEY"]
    done = bitstill("sync", str(folder), env=environment)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == (
        "bitstill: there is no key for wandb's server: wandb login, or set WANDB_API_KEY"
    )


@pytest.mark.slow
def test_wandb_sync_does_too(folder: Path, server: WandbServer) -> None:
    """What users of wandb call; from the folder that training was called in."""
    home = folder.parents[1]
    paths = sorted(str(path) for path in folder.glob("wandb/offline-run-*"))
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "wandb", "sync", *paths],
        cwd=home,
        env=reaching(server),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0
    assert len(server.runs) == 5
    assert all(one["committed"] for one in server.artifacts.values())
    assert unsent(folder) == {}


def test_a_folder_without_runs_of_wandb(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no runs of wandb: give a sweep's folder"):
        sync(tmp_path)


def test_artifacts_are_named_from_where_training_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that is not known, from here."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "work" / "runs" / "mine"
    run = RunPaths(folder / "hard")
    run.composed.parent.mkdir(parents=True)
    run.record.touch()
    for output, base in (
        ("runs", tmp_path / "work"),
        ("work/runs", tmp_path),
        ("../runs", tmp_path),
        ("/".join(["deep"] * len(folder.parents)), tmp_path),  # moved to where there is no such way
        (str(folder.parent), tmp_path),
    ):
        run.composed.write_text(f"paths: {{output: {output}}}")
        assert syncing._base(folder) == base, output


def sitting(folder: Path, name: str, content: bytes = SITTING) -> Path:
    run_id = name.partition("_")[2].partition("-")[2]
    file = folder / "wandb" / name / f"run-{run_id}.wandb"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return file


def test_a_run_at_work_is_sent_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent before, it would count as crashed, and as sent."""
    folder, names = tmp_path / "mine", []
    for letter in "ab":
        record, paths = made_up(identity=letter * 64), RunPaths(folder / letter)
        paths.directory.mkdir(parents=True)
        record.write(paths)
        names.append(wandb_id(record, "mine"))
        sitting(folder, f"offline-run-20260101_000000-{names[-1]}")
    sent: list[str] = []

    def send(files: list[Path], *_: object) -> str:
        for file in files:
            mark_sent(file)
            sent.append(id_of(file))
        return ""

    monkeypatch.setattr(syncing, "_send", send)
    with exclusive(RunPaths(folder / "a")):
        assert sync(folder) == "1 run sent; 1 at work are not: again when they have ended"
    assert sent == names[1:]
    assert sync(folder) == "1 run sent"
    assert sent == [names[1], names[0]]

    # What was sent by hand meanwhile, and has gone on since.
    [file] = files(folder)[names[0]]
    os.utime(mark_of(file), (1, 1))
    assert list(unsent(folder)) == names[:1]
    assert sync(folder) == "1 run sent"
    assert unsent(folder) == {}


def test_a_server_that_does_not_answer_is_not_asked_for_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(command: object, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired("wandb", timeout)

    for name in "abc":
        sitting(tmp_path, f"offline-run-20260101_000000-{name}")
    monkeypatch.setattr(subprocess, "run", wait)
    with pytest.raises(SweepFailedError) as caught:
        sync(tmp_path)
    assert str(caught.value).splitlines() == [
        "3 of 3 runs were not sent; the same command goes on:",
        "  a: the server has not taken it within 600 s",
        "  b: not tried",
        "  c: not tried",
    ]


def test_what_wandb_refuses_is_said_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sitting(tmp_path, "offline-run-20260101_000000-a")
    monkeypatch.setenv("WANDB_BASE_URL", "nonsense")
    with pytest.raises(SweepFailedError) as caught:
        sync(tmp_path)
    [_, line] = str(caught.value).splitlines()
    assert line.startswith("  a: ")
    assert "base_url Input should be a valid URL" in line
    assert "nonsense" in line


def test_sittings_are_sent_in_the_order_of_time(tmp_path: Path) -> None:
    names = ["offline-run-20260102_000000-b", "run-20260101_000000-b", "run-20260103_000000-a"]
    for name in names:
        sitting(tmp_path, name)
    found = {name: [file.parent.name for file in of] for name, of in unsent(tmp_path).items()}
    assert found == {"b": [names[1], names[0]], "a": [names[2]]}


def test_behind_an_unsent_sitting_all_are_sent_again(tmp_path: Path) -> None:
    """Else the server would go back to what the run was then."""
    files = [sitting(tmp_path, f"run-2026010{day}_000000-a") for day in (1, 2, 3)]
    for sent in (files[0], files[2]):
        mark_sent(sent)
    assert unsent(tmp_path) == {"a": files[1:]}


def test_a_sitting_that_was_killed_at_its_beginning_is_left_out(tmp_path: Path) -> None:
    whole = sitting(tmp_path, "run-20260101_000000-a")
    sitting(tmp_path, "run-20260102_000000-a", b"")
    sitting(tmp_path, "run-20260103_000000-a", b":W&B123")
    assert unsent(tmp_path) == {"a": [whole]}


def test_a_teacher_that_is_trained_for_students_alone_is_at_work(tmp_path: Path) -> None:
    """It is none of the sweep's runs, and is logged with them."""
    stored = RunPaths(tmp_path / "teachers" / ("a" * 64))
    with exclusive(stored):
        assert at_work(tmp_path / "mine") == {"a" * 64}
    assert at_work(tmp_path / "mine") == set()


def test_so_is_one_in_a_store_that_is_configured_elsewhere(tmp_path: Path) -> None:
    waiting = RunPaths(tmp_path / "mine" / "student")
    waiting.composed.parent.mkdir(parents=True)
    waiting.composed.write_text(f"paths: {{teachers: {tmp_path / 'elsewhere'}}}")
    with exclusive(RunPaths(tmp_path / "elsewhere" / ("a" * 64))):
        assert at_work(tmp_path / "mine") == {"a" * 64}


def test_wandb_is_asked_for_whole_runs_and_has_to_mark_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sitting(tmp_path, "offline-run-20260101_000000-a")
    asked: list[tuple[list[str], dict[str, Any]]] = []

    def run(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        asked.append((command, options))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SweepFailedError, match="a: no word from wandb sync"):
        sync(tmp_path)
    [(command, options)] = asked
    assert command[1:4] == ["-P", "-m", "wandb"]
    assert command[4:] == ["sync", "--include-online", "--include-synced", str(file.parent)]
    assert options["stdin"] == subprocess.DEVNULL
    assert options["env"]["WANDB_DIR"] == str(tmp_path)


def test_a_run_that_wandb_complains_of_is_not_sent_whatever_it_has_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an artifact that the server has not taken, say, behind a history that it has."""
    file = sitting(tmp_path, "offline-run-20260101_000000-a")

    def run(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        mark_sent(file)
        return subprocess.CompletedProcess(command, 1, "", "wandb: ERROR no artifact\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SweepFailedError, match="a: wandb: ERROR no artifact"):
        sync(tmp_path)
