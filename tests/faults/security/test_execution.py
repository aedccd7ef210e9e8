"""Nothing that a user can be handed runs code: configurations, checkpoints, archives, links."""

import itertools
import json
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import submitit
from hydra.core.plugins import Plugins
from hydra.errors import OverrideParseException
from tests.conftest import SMALL, Train, made_up

import bitstill.application
import bitstill.sweep.conductor
from bitstill.configuration.check import settings
from bitstill.configuration.completion import complete
from bitstill.configuration.guard import ALLOWED
from bitstill.configuration.shipped import conf_directory
from bitstill.runs import RunPaths, known_record
from bitstill.runs.identity import portable_config
from bitstill.runs.manifest import write_manifest
from bitstill.schema import TARGETS
from bitstill.training.checkpoints import AtomicCheckpointIO, newest_checkpoint


@contextmanager
def nothing_executed(folder: Path) -> Iterator[str]:
    """Yield a shell command that leaves a trace, and see that there is none."""
    trace = folder / "executed"
    yield f"touch {trace}"
    assert not trace.exists(), "code was executed"


# Configurations. {} is the command that must not be executed.

HYDRA = {
    "launcher": "hydra.launcher._target_=os.system",
    "launcher's function": "hydra.launcher._target_=bitstill.train.run",
    "launcher by another name": "hydra.launcher._target_=posix.system",
    "launcher interpolated": "hydra.launcher._target_=${name}",
    "launcher with more": "+hydra.launcher.x={_target_:os.system,command:'{}'}",
    "launcher referring": "+hydra.launcher.x=${model}",
    "launcher created": "+hydra.launcher.x='${oc.create:{_target_:os.system,command:ls}}'",
    "launcher decoded": """+hydra.launcher.x='${oc.decode:"[1]"}'""",
    "sweeper": "hydra.sweeper._target_=subprocess.Popen",
    "sweeper in a list": "hydra.sweeper.grids=[{_target_:os.system,command:'{}'}]",
    "sweeper in params": "hydra.sweeper.params={_target_:os.system,command:'{}'}",
    "callback": "+hydra.callbacks.x={_target_:os.system,command:'{}'}",
    "callback that executes": "+hydra.callbacks.x={_target_:builtins.exec,_args_:['1']}",
    "callback in part": "+hydra.callbacks.x={_target_:os.system,_partial_:true,command:'{}'}",
    "callback deep": "+hydra.callbacks.x={a:[{b:{_target_:os.system,command:'{}'}}]}",
    "callback referring": "+hydra.callbacks.x=${loss}",
    "formatter's class": "+hydra.job_logging.formatters.x={class:os.system}",
    "handler's class": "hydra.hydra_logging.handlers.console.class=os.system",
    "stream": "hydra.hydra_logging.handlers.console.stream=ext://os.environ",
    "stream of another module": "hydra.job_logging.handlers.console.stream=ext://antigravity",
    "stream of the configuration": "hydra.job_logging.handlers.console.stream=cfg://handlers",
    "environment": "+hydra.job.env_set.PATH=/tmp",
    "launcher with a shell": (
        "hydra.launcher._target_="
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"
    ),
    "log's file": "hydra.job_logging.handlers.file.filename='${oc.env:HOME}/.bashrc'",
    "name of a log": "hydra.job.name=../../x",
    "folder of its copies": "hydra.output_subdir=/tmp",
}


@pytest.mark.parametrize(
    ("mode", "case"),
    [
        *(("-m", case) for case in HYDRA),  # a sweep instantiates all of it
        *itertools.product(("", "--cfg job"), ("launcher", "sweeper", "callback", "environment")),
    ],
)
def test_hydras_own_settings_run_nothing_else(
    train: Train, tmp_path: Path, mode: str, case: str
) -> None:
    with nothing_executed(tmp_path) as command:
        given = HYDRA[case].replace("{}", command)
        code, out, err = train(*mode.split(), *SMALL, f"paths.output={tmp_path / 'output'}", given)
    assert code == 2, err
    [line] = err.splitlines()
    assert line.startswith("bitstill: hydra."), line
    assert "is not allowed" in line or "is not a setting" in line
    assert out == ""
    assert not (tmp_path / "output").exists()


def test_no_package_is_searched(train: Train, tmp_path: Path) -> None:
    """To look into one for configurations is to import it."""
    (tmp_path / "evil.yaml").write_text("hydra: {searchpath: ['pkg://antigravity']}")
    for given in (
        ("hydra.searchpath=[pkg://antigravity]",),
        ("hydra.searchpath=[file:///tmp,pkg://antigravity]",),
        ("--config-dir", str(tmp_path), "-cn", "evil"),
    ):
        code, out, err = train("--cfg", "job", *given)
        assert (code, out) == (2, "")
        assert err == (
            "bitstill: hydra.searchpath = pkg://antigravity is not allowed: give folders, "
            "file://FOLDER\n"
        )
        assert "antigravity" not in sys.modules


class Executed:
    """Leaves a trace when it is unpickled."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


@pytest.mark.parametrize("option", ["--experimental-rerun", "--exp"])
def test_no_pickled_run_is_run_again(train: Train, tmp_path: Path, option: str) -> None:
    file = tmp_path / "config.pickle"
    with nothing_executed(tmp_path) as command:
        file.write_bytes(pickle.dumps(Executed(command)))
        code, _, err = train(option, str(file))
    assert code == 2
    assert err == (
        "bitstill: --experimental-rerun is not allowed: give the run's own command again\n"
    )


FILES = {
    "loss": "loss: {_target_: os.system, command: 'COMMAND'}",
    "loss in part": "loss: {_target_: os.system, _partial_: true, command: 'COMMAND'}",
    "loss with arguments": "loss: {_target_: builtins.exec, _partial_: false, _args_: ['COMMAND']}",
    "arguments beside a good target": "loss: {_args_: [{_target_: os.system, command: COMMAND}]}",
    "deep below a good target": "quantizer: {method: {_target_: os.system, command: 'COMMAND'}}",
    "in a list": "schedule: {learning_rates: [{_target_: os.system, command: 'COMMAND'}]}",
    "ours, and not in the list": "loss: {_target_: bitstill.deploy.export.export}",
    "a module of ours": "model: {_target_: bitstill.train.subprocess.run, args: 'COMMAND'}",
    "a method": "data: {_target_: bitstill.data.Digits.load}",
    "logger": "logger: {wandb: {_target_: os.system, command: 'COMMAND'}}",
    "convert": "model: {_target_: bitstill.models.Student, _convert_: all}",
    "recursive": "model: {_target_: bitstill.models.Student, _recursive_: true}",
    "at the top": "_target_: os.system",
    "at the top, named": "mine: {_target_: os.system, command: 'COMMAND'}",
    "whitespace": "loss: {_target_: 'bitstill.losses.hard '}",
    "dots": "loss: {_target_: 'bitstill.losses..hard'}",
    "callbacks": "hydra: {callbacks: {x: {_target_: os.system, command: 'COMMAND'}}}",
    "launcher": "hydra: {launcher: {_target_: os.system, command: 'COMMAND'}}",
    "callbacks elsewhere": (
        "mine: {x: {_target_: os.system, command: 'COMMAND'}}\nhydra: {callbacks: '${mine}'}"
    ),
    "formatter": "hydra: {job_logging: {formatters: {x: {(): os.system, command: 'COMMAND'}}}}",
    "a handler's attributes": "hydra: {job_logging: {handlers: {file: {'.': {x: COMMAND}}}}}",
    "handler": "hydra: {hydra_logging: {handlers: {x: {(): os.system, command: 'COMMAND'}}}}",
    "filter": "hydra: {hydra_logging: {filters: {x: {(): os.system, command: 'COMMAND'}}}}",
    "an object": "seed: !!python/object/apply:os.system ['COMMAND']",
    "a name": "seed: !!python/name:os.system",
}


@pytest.mark.parametrize(
    ("mode", "case"),
    [
        *((("-m",), case) for case in FILES),
        # A run alone is checked elsewhere, and loads its files as a sweep does.
        *(((), case) for case in ("loss", "in a list", "at the top", "callbacks", "an object")),
    ],
    ids=str,
)
def test_a_configuration_from_elsewhere_runs_nothing(
    train: Train, tmp_path: Path, mode: tuple[str, ...], case: str
) -> None:
    file = tmp_path / "theirs" / "experiment" / "evil.yaml"
    file.parent.mkdir(parents=True)
    with nothing_executed(tmp_path) as command:
        file.write_text("# @package _global_\n" + FILES[case].replace("COMMAND", command) + "\n")
        code, _, err = train(
            *(*mode, "--config-dir", str(file.parent.parent), "experiment=evil"),
            *(*SMALL, f"paths.output={tmp_path / 'output'}"),
        )
    assert code == 2, err
    [line] = err.splitlines()
    assert line.startswith("bitstill: ")
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["parallel", "slurm"])
def test_a_configuration_that_changes_after_the_plan_is_not_read_again(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    """The processes of a sweep compose their runs themselves, from what was read for the plan."""
    file = tmp_path / "theirs" / "experiment" / "later.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\n")
    jobs = [f"hydra/launcher={launcher}"]
    if launcher == "parallel":
        jobs += ["hydra.launcher.n_jobs=2"]
    else:  # processes of this machine, in place of Slurm's
        name = "hydra_plugins.bitstill_slurm.SlurmLauncher"
        local = submitit.AutoExecutor(folder=tmp_path / "submitit", cluster="local")
        known = Plugins.instance().class_name_to_class[name]
        monkeypatch.setattr(known, "_executor", lambda launcher: local)

    with nothing_executed(tmp_path) as command:

        def planned(*arguments: Any) -> None:
            write_manifest(*arguments)
            evil = f"{{(): codecs.open, filename: {command.split()[1]}, mode: w}}"
            formatters = f"hydra: {{job_logging: {{formatters: {{x: {evil}}}}}}}"
            file.write_text(f"# @package _global_\n{formatters}\n")

        monkeypatch.setattr(bitstill.sweep.conductor, "write_manifest", planned)
        code, _, err = train(
            *("-m", "--config-dir", str(file.parent.parent), "experiment=later", *jobs),
            *(*SMALL, f"paths.output={tmp_path / 'output'}", "loss=hard", "seed=0,1"),
        )
    assert code == 0, err
    assert "codecs" in file.read_text()
    records = [known_record(RunPaths(one.parent)) for one in tmp_path.rglob("run.json")]
    assert [record.status for record in records if record is not None] == ["done"] * 2


@pytest.mark.parametrize(
    "choice",
    [
        *(f"hydra/launcher={name}" for name in ("basic", "parallel", "slurm")),
        *(f"hydra/job_logging={name}" for name in ("default", "disabled", "none", "stdout")),
        "hydra/hydra_logging=default",
        "hydra.verbose=true",
    ],
)
def test_hydras_own_choices_are_allowed(train: Train, choice: str) -> None:
    code, out, err = train("--cfg", "job", choice)
    assert (code, err) == (0, "")
    assert out.startswith("data:")


def test_slurm_is_chosen_on_the_command_line(train: Train, tmp_path: Path) -> None:
    """What a file gives the launcher goes into a job's script."""
    file = tmp_path / "experiment" / "theirs.yaml"
    file.parent.mkdir()
    file.write_text(
        "# @package _global_\ndefaults: [override /hydra/launcher: slurm]\n"
        "hydra: {mode: MULTIRUN, launcher: {setup: [touch executed]}}\n"
    )
    given = ("--config-dir", str(tmp_path), "experiment=theirs", "hydra.sweeper.plan_only=true")
    code, _, err = train(*given)
    assert (code, err) == (
        2,
        "bitstill: hydra/launcher=slurm hands its settings to a shell: give it on the command "
        "line, and not in a file\n",
    )
    code, _, err = train(*given, "hydra/launcher=slurm")
    assert code == 0, err
    # One that is no run's, and knows no name.
    (tmp_path / "evil.yaml").write_text(
        "defaults: [override hydra/launcher: slurm, _self_]\nhydra: {mode: MULTIRUN}\n"
    )
    code, _, err = train("--config-dir", str(tmp_path), "-cn", "evil")
    assert code == 2
    assert "is not allowed" in err
    assert not (tmp_path / "multirun").exists()


def test_completion_runs_nothing(tmp_path: Path, restored: None) -> None:
    with nothing_executed(tmp_path) as command:
        evil = f"+x={{_target_:os.system,command:'{command}'}}"
        for one in ("name=${oc.env:HOME}", "+x={_target_:os.system,a:1}", evil):
            with suppress(OverrideParseException):
                complete([one], "loss=ha")


def test_every_choice_is_in_the_list(compose_run: Callable[..., Any]) -> None:
    """And the list names nothing else of ours than what conf/ uses."""
    used = set()
    for path in conf_directory().rglob("*.yaml"):
        used |= set(re.findall(r"^_target_: (.+)$", path.read_text(), re.MULTILINE))
    listed = {target for targets in TARGETS.values() for target in targets}
    assert listed <= used
    assert used - listed <= set(ALLOWED["_target_"])
    assert not [name for name in settings() if "_target_" in name]


# Checkpoints and weights


@pytest.mark.parametrize("name", ["last.ckpt", "previous.ckpt"])
def test_a_checkpoint_is_not_unpickled(tmp_path: Path, name: str) -> None:
    """With a checksum that fits: an attacker can compute one."""
    path = tmp_path / name
    with nothing_executed(tmp_path) as command:
        AtomicCheckpointIO().save_checkpoint({"state_dict": Executed(command)}, path)
        assert newest_checkpoint(RunPaths(tmp_path)) is None
        for asked in (True, False, None):
            with pytest.raises(pickle.UnpicklingError):
                AtomicCheckpointIO().load_checkpoint(path, weights_only=asked)


# What lies in the current folder


@pytest.mark.slow
def test_a_sweep_that_is_sent_runs_nothing_that_lies_beside_it(
    tmp_path: Path, command: Train
) -> None:
    """Wandb is called in the folder that the sweep says it was made in."""
    sweep = tmp_path / "multirun" / "theirs"
    sitting = sweep / "wandb" / "offline-run-20260101_000000-a" / "run-a.wandb"
    sitting.parent.mkdir(parents=True)
    sitting.write_bytes(b"this is not a run")
    paths = RunPaths(sweep / "run")
    paths.composed.parent.mkdir(parents=True)
    paths.composed.write_text("paths: {output: multirun}\n")
    made_up().write(paths)
    with nothing_executed(tmp_path) as touch:
        trace = touch.split()[1]
        (tmp_path / "wandb.py").write_text(f"open({trace!r}, 'w')\n")
        code, _, err = command("sync", str(sweep))
    assert code in (1, 2), err  # without a key, or a server
    assert "Traceback" not in err


def test_processes_of_a_sweep_import_nothing_from_the_current_folder(
    restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joblib and submitit start them with -m."""
    seen = []

    @contextmanager
    def watched() -> Iterator[None]:
        seen.append(os.environ.get("PYTHONSAFEPATH"))
        yield

    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(bitstill.application, "guarded", watched)
    assert bitstill.application.train(["--cfg", "job"]) == 0
    assert seen == ["1"]
    assert "PYTHONSAFEPATH" not in os.environ


# Records


def test_a_record_holds_no_secret_and_no_folder(
    configure: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret-of-mine")
    config = configure(tmp_path, "logger=wandb", "logger.wandb.entity=somebody")
    text = json.dumps(portable_config(config))
    for words in ("secret-of-mine", str(tmp_path), "somebody", os.path.expanduser("~/")):
        assert words not in text
