"""Small runs, and what in-process Hydra and Lightning change put back."""

import copy
import functools
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from PIL import Image
from sklearn.datasets import load_digits
from tests.pictures import encoded
from tests.wandb_server import WandbServer, serving

from bitstill import loss_inputs
from bitstill.application import register_resolvers
from bitstill.configuration.check import check
from bitstill.configuration.guard import guarded
from bitstill.configuration.shipped import conf_directory
from bitstill.files import locked
from bitstill.runs import RunPaths, RunRecord
from bitstill.schema import TrainConfig
from bitstill.sweep.plan import PlannedRun, plan

# How fast something is no test says: machines are shared.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# A training run of one to two seconds.
SMALL = (
    "schedule.epochs=1",
    "schedule.batch_size=128",
    "teacher.schedule.epochs=1",
    "teacher.schedule.batch_size=128",
    "evaluation.calibration_images=64",
    "trainer.threads=1",
)

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Compose = Callable[..., DictConfig]
Configure = Callable[..., TrainConfig]
Plan = Callable[..., list[PlannedRun]]
Train = Callable[..., tuple[int, str, str]]


def once_for_all_workers(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """Return a folder with what takes long to make: the first worker to want it makes it."""
    together = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        together = together.parent
    folder, whole = together / name, together / f"{name}-is-whole"
    with locked(together / f"{name}.lock"):
        if not whole.exists():  # what another worker has failed at, fails here as well
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decode the digits once, and let wandb write nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITSTILL_CACHE", str(tmp_path_factory.mktemp("cache")))
        wandb = tmp_path_factory.mktemp("wandb")
        for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
            patch.setenv(f"WANDB_{name}", str(wandb))
        patch.setenv("WANDB_MODE", "offline")
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Shells start what they run in the background deaf to Ctrl-C, and so would be its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def putting_back() -> Iterator[None]:
    """Put back what a run changes for the whole process."""
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in ("pytorch_lightning", "bitstill"))]
    before = [(one, one.level, list(one.handlers)) for one in loggers]
    environment, argv, interrupt = dict(os.environ), sys.argv, signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        for one, level, handlers in before:
            one.setLevel(level)
            for handler in set(one.handlers) - set(handlers):
                handler.close()
            one.handlers[:] = handlers
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = argv
        signal.signal(signal.SIGINT, interrupt)
        if "torch" in sys.modules:
            import torch

            torch.use_deterministic_algorithms(False)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Forbid writing: with a mount for root, to whom permissions mean nothing."""
    if os.geteuid() == 0:
        mount, umount = ["mount", "--bind", "-o", "ro"], ["umount"]
        subprocess.run([*mount, folder, folder], check=True)  # noqa: S603
        try:
            yield
        finally:
            subprocess.run([*umount, folder], check=True)  # noqa: S603
        return
    inside = [folder, *folder.rglob("*")]
    modes = [path.stat().st_mode for path in inside]
    for path in reversed(inside):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path, mode in zip(inside, modes, strict=True):
            path.chmod(mode)


@pytest.fixture
def restored() -> Iterator[None]:
    with putting_back():
        yield


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes standard error a terminal from here on, and each look at the clock take a second."""

    def begin() -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setattr("tqdm.std.time", itertools.count().__next__)

    return begin


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute in one thread; torch is seeded with 0."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Choose 180 training and 40 test digits: an epoch in a fraction of a second."""
    folder = tmp_path_factory.mktemp("few")
    source = load_digits()
    for split, rows in (("train", slice(200)), ("test", slice(200, 240))):
        pixels = np.uint8(15) * source.images[rows].astype(np.uint8)
        images = [encoded(Image.fromarray(image)) for image in pixels]
        table = {"image": [{"bytes": one} for one in images], "label": source.target[rows]}
        pq.write_table(pa.table(table), folder / f"{split}-0.parquet")
    return "data=parquet", f"data.path={folder}", "schedule.batch_size=32"


@pytest.fixture(scope="session")
def compose_run() -> Compose:
    """Composes overrides as bitstill does for a run."""
    register_resolvers()
    with guarded(), initialize_config_dir(str(conf_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

    @functools.cache
    def once(*overrides: str) -> DictConfig:  # a tenth of a second
        return loader.load_configuration("train", list(overrides), RunMode.RUN, from_shell=False)

    def composed(*overrides: str, hydra: bool = False) -> DictConfig:
        config = copy.deepcopy(once(*overrides))
        if not hydra:
            with open_dict(config):
                del config["hydra"]
        return config

    return composed


@pytest.fixture(scope="session")
def default_run(compose_run: Compose) -> DictConfig:
    return compose_run()


@pytest.fixture
def changed(default_run: DictConfig) -> Compose:
    """Returns the default composition with values changed, keys added or removed (None)."""

    def change(values: dict[str, Any], *, remove: tuple[str, ...] = ()) -> DictConfig:
        config = copy.deepcopy(default_run)
        OmegaConf.set_struct(config, False)
        for key, value in values.items():
            OmegaConf.update(config, key, value, force_add=True)
        for key in remove:
            parent, _, name = key.rpartition(".")
            del (OmegaConf.select(config, parent) if parent else config)[name]
        return config

    return change


@pytest.fixture(scope="session")
def configure(compose_run: Compose) -> Configure:
    """Composes and checks a small run that lies in a folder."""

    def configured(folder: Path | None, *overrides: str) -> TrainConfig:
        paths = [] if folder is None else [f"paths.output={folder}"]
        return check(compose_run(*SMALL, *paths, *overrides))

    return configured


@pytest.fixture
def plan_runs(compose_run: Compose, tmp_path: Path) -> Plan:
    """Plans small runs, each of the overrides in a line, into this test's folder."""

    def planned(*runs: str, common: Sequence[str] = ()) -> list[PlannedRun]:
        every = (*SMALL, f"paths.output={tmp_path}", *common)
        return plan([tuple(run.split()) for run in runs], lambda one: compose_run(*every, *one))

    return planned


def made_up(**changes: Any) -> RunRecord:
    """Return a record: of a hard student that is done, but for what is given."""
    plain: dict[str, Any] = {
        "status": "done",
        "identity": "a" * 64,
        "model": "student",
        "loss": "hard",
        "temperature": 15.0,
        "seed": 0,
        "epoch": 1,
        "epochs": 1,
        "config": {},
        "data_identity": "d",
        "teacher_identity": None,
    }
    return RunRecord(**plain | changes)


def run_main(
    arguments: Sequence[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Run ``bitstill`` in this process: exit code, stdout, stderr."""
    from bitstill.cli import main

    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["bitstill", *arguments])
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capfd.readouterr()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, out, err


@pytest.fixture
def train(
    restored: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Train:
    """Runs ``bitstill train`` in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with putting_back():
            return run_main(("train", *arguments), capfd, monkeypatch)

    return run


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Train:
    """Runs ``bitstill`` in this process, which must end by itself: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "120")
    return lambda *arguments: run_main(arguments, capfd, monkeypatch)


@pytest.fixture(scope="session")
def bitstill() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs ``python -m bitstill`` in a process of its own."""

    def run(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "bitstill", *arguments]
        return subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=120, **options
        )

    return run


@dataclass(frozen=True)
class Logged:
    """A sweep on disk.

    Attributes:
        home: the folder that it was called in.
        folder: of the sweep.
        secrets: what must be found nowhere: the key, the user, this machine's folders.
    """

    home: Path
    folder: Path
    secrets: tuple[str, ...]

    def paths(self, label: str) -> RunPaths:
        [found] = self.folder.glob(f"{label}*/run.json")
        return RunPaths(found.parent)


@pytest.fixture(scope="session")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """A teacher and two students of two epochs, called as a user does, in a folder of theirs."""
    key, user = "5ecretkey" * 5, "alice-the-user"
    home = once_for_all_workers(
        tmp_path_factory, "alice-at-work", lambda home: _log_a_sweep(home, key, user)
    )
    return Logged(home, home / "multirun" / "mine", (key, user, str(home), sys.prefix))


def _log_a_sweep(home: Path, key: str, user: str) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WANDB_")},
        **{"WANDB_API_KEY": key, "USER": user, "LOGNAME": user, "USERNAME": user},
        **{"HOME": str(home / user), "OMP_NUM_THREADS": "1"},
        "PYTHONPATH": str(
            Path(sys.modules["bitstill"].__file__ or "").parents[1]
        ),  # it runs in another folder
    }
    (home / user).mkdir()
    command = [
        *(sys.executable, "-m", "bitstill", "train", "-m", *SMALL),
        *("name=mine", "model=student,teacher", "loss=soft", "temperature=T10,T15"),
        *("schedule.epochs=2", "logger=[tensorboard,wandb]"),
        *("logger.wandb.log_artifacts=true", "logger.wandb.tags=[tagged]"),
    ]
    done = subprocess.run(  # noqa: S603
        command, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "wandb:" not in done.stderr


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with serving() as found:
        yield found


@pytest.fixture
def browser() -> Iterator[Any]:
    """Debian's Chromium under playwright, with a profile of its own."""
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a package of one module, which offers a loss, into a folder of the path."""

    names: set[str] = set()

    def forget() -> None:
        loss_inputs.own_loss.cache_clear()
        loss_inputs._offered.cache_clear()
        for name in names:
            sys.modules.pop(name, None)

    def installed(
        folder: Path, text: str, *, name: str = "mine", version: str = "1", entry: str
    ) -> None:
        about = folder / f"{name}-{version}.dist-info"
        about.mkdir(parents=True)
        (folder / f"{name}.py").write_text(text)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}")
        (about / "entry_points.txt").write_text(f"[{loss_inputs.GROUP}]\nany = {entry}\n")
        monkeypatch.syspath_prepend(folder)
        names.add(name)
        forget()

    yield installed
    forget()
