"""Configurations and arguments that cannot be used: one line each, and nothing happens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import SMALL

Attack = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]

HUGE, LONG = "1" + "0" * 400, "x" * 300

# Overrides, and what the line has to name; each type and each range is tested in
# tests/configuration/test_check.py.
OVERRIDES = {
    "seed of many digits": (f"seed={HUGE}", "seed = 1000", "at most"),
    "seed of too many digits": (f"seed={'9' * 5000}", "thousands of digits", "KEY=VALUE"),
    "T overflows": ("temperature.value=1e400", "temperature.value = inf", "finite"),
    "T^2 overflows": ("temperature.value=1e200", "soft_weight.value = inf", "finite"),
    "rates nested": ("schedule.learning_rates=[[1],1,1]", "learning_rates[0] = [1]", "a number"),
    "fraction one": ("data.val_fraction=1", "data.val_fraction=1", "[0, 1)"),
    "fraction all": ("data.val_fraction=0.9999", "takes all 1437", "smaller"),
    "split seed": ("data.split_seed=-1", "data.split_seed=-1", "0 or more"),
    "name of two lines": ('name="a\nb"', "name = 'a\\nb'", "printable"),
    "name with a null": ('name="a\0b"', "name = 'a\\x00b'", "printable"),
    "interpolation of itself": ("seed=${seed}", "seed", "itself"),
    "interpolation in a circle": ("teacher.seed=${seed} seed=${teacher.seed}", "seed", "itself"),
    "interpolation unfinished": ("seed=${", "seed=${", "KEY=VALUE"),
    "environment": ("seed=${oc.env:NOT_THERE}", "seed", "NOT_THERE"),
    "resolver unknown": ("seed=${shell:ls}", "seed", "shell"),
    "resolver of two": ("soft_weight.value=${square:1,2}", "soft_weight.value", "square"),
    "resolver of text": ("soft_weight.value=${square:a}", "soft_weight.value = 'a'", "a number"),
    "folder in itself": ("name=${run_directory:}", "name", "itself"),
    "node deleted": ("~batch_norm", "batch_norm is not set", "give batch_norm=VALUE"),
    "group twice": ("+loss=soft", "loss has its choice already", "loss=CHOICE, without +"),
    "choice twice": ("+loss=hard", "loss has its choice already", "loss=CHOICE, without +"),
    "group left out": ("~logger", "~logger is not a setting to leave out", "logger=CHOICE"),
    "group nowhere": ("+optimizer=adam", "optimizer is not a setting", "a run has name"),
    "choice in a list of lists": ("loss=[[]]", "loss=[[]] is not a choice", "soft_hard"),
    "choices of numbers": ("loss=[nan,inf]", "loss=[nan,inf] is not a choice", "soft_hard"),
    "choice null in a list": ("logger=[csv,null]", "logger=[csv,null] is not a choice", "wandb"),
    "choice that is referred to": ("loss=${oc.select:nope}", "nope} is not a choice", "soft_hard"),
    "name of hydra": ("name=${hydra:}", "${hydra:...} has no value yet", "another value"),
    "name to be given": ("name=???", "name is not set", "name=VALUE"),
    "hydra mode": ("hydra.mode=TWICE", "hydra.mode", "TWICE"),
    "of a logger that is not chosen": ("logger.wandb.mode=online", "the logger that is chosen"),
    "added to hydra": (
        "+hydra.launcher_n_jobs=4",
        "hydra.launcher_n_jobs is not a setting",
        "--cfg",
    ),
    "verbose": ("hydra.verbose={a:1}", "hydra.verbose", "true or false"),
    "its own folder": ("hydra.job.chdir=true", "hydra.job.chdir = True", "relative to where"),
    "output empty": ("paths.output=", "paths.output = ''", "give a folder"),
    "batch above the images": ("schedule.batch_size=1294", "1294", "at most 1293"),
    "rerun": ("sweep.rerun=some", "sweep.rerun = some", "none, failed, all"),
    "logger null": ("logger=null", "logger", "csv, tensorboard, wandb"),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_an_override_that_cannot_be_used(refused: Refused, case: str) -> None:
    given, *named = OVERRIDES[case]
    line = refused("train", *SMALL, "paths.output=output", *given.split(" "))
    for words in named:
        assert words in line
    assert len(line) < 600


SWEEPS: dict[str, tuple[Any, ...]] = {
    "cell negative": (("seed=0,-1",), "seed = -1", "at least 0"),
    "range backwards": (("seed=range(3,0)",), "no runs", "ranges"),
    "range that stands still": (("seed=range(0,3,0)",), "seed=range(0,3,0) cannot be run", "zero"),
    "range without an end": (("seed=range(inf)",), "seed=range(inf) would be inf runs", "at most"),
    "range of many digits": ((f"seed=range({HUGE})",), "would be inf runs", "at most 100000"),
    "range too long": (("seed=range(1000000000)",), "would be 1000000000 runs", "at most 100000"),
    "range of tiny steps": (("temperature.value=range(1,2,1e-12)",), "runs", "at most 100000"),
    "range of no number": (("seed=range(nan)",), "seed=range(nan) would be nan runs", "at most"),
    "ranges too long together": (
        ("seed=range(1000)", "teacher.seed=range(1000)"),
        "would be 1000000 runs",
        "at most 100000",
    ),
    "choice in a choice": (("seed=choice(1,choice(2,3))",), "cannot be run", "give other values"),
    "Hydra's in a grid": (
        ("hydra.sweeper.grids=[{hydra/launcher:parallel}]",),
        "hydra.sweeper has hydra/launcher, which is not a setting of a run",
        "outside params and grids",
    ),
    "choice of nothing": (("seed=choice()",), "'seed=choice()' cannot be read", "empty choice"),
    "choices of nothing": (("loss=",), "loss", "gt_soft_hard"),
    "grids no list": (("hydra.sweeper.grids=3",), "hydra.sweeper.grids = 3", "give a list of"),
    "grid no mapping": (("hydra.sweeper.grids=[3]",), "hydra.sweeper.grids = [3]", "KEY: 'A,B'"),
    "grids a mapping": (("hydra.sweeper.grids={seed:'1,2'}",), "hydra.sweeper.grids", "value"),
    "choices as a list": (("hydra.sweeper.grids=[{seed:[1,2]}]",), "seed = [1, 2]", "'A,B'"),
    "basic sweeper": (("hydra/sweeper=basic",), "is not allowed", "weeper"),
    "grid unknown key": (("hydra.sweeper.grids=[{sede:'1,2'}]",), "sede", "did you mean seed?"),
    "params no mapping": (("hydra.sweeper.params=3",), "hydra.sweeper.params", "another value"),
    "jobs no number": (
        ("hydra/launcher=parallel", "hydra.launcher.n_jobs=many"),
        "hydra.launcher.n_jobs",
        "many",
    ),
    "too many jobs": (
        ("hydra/launcher=parallel", "hydra.launcher.n_jobs=100000000000000000000"),
        "hydra.launcher.n_jobs = 100000000000000000000 is not allowed",
        "at most 1024",
    ),
    "experiments": (("experiment=table3,table4",), "experiment has several values", "one here"),
    "names": (("name=a,b",), "name has several values", "give one here"),
    "loggers": (("logger=csv,tensorboard",), "logger has several values", "'logger=[csv,wandb]'"),
    "outputs": (("paths.output=a,b",), "paths.output has several values", "give one here"),
    "sweep's folder": (("hydra.sweep.dir=x",), "hydra.sweep.dir = x", "paths.output and name"),
    "run's folder": (("hydra.sweep.subdir=x",), "hydra.sweep.subdir = x", "paths.output and name"),
    "one batch above the images": (("schedule.batch_size=64,1294",), "1294", "at most 1293"),
    "launcher key": (("hydra.launcher.nodes=3",), "hydra.launcher.nodes is not a setting", "slurm"),
    "sweeper key": (
        ("hydra.sweeper.grid=3",),
        "hydra.sweeper.grid is not a setting",
        "--cfg hydra",
    ),
    "sweeper unknown": (("hydra/sweeper=optuna",), "hydra/sweeper=optuna", "grid"),
    "sweeper's batches": (("hydra.sweeper.max_batch_size=-2",), "max_batch_size = -2", "or null"),
    "batches of none": (("hydra.sweeper.max_batch_size=0",), "max_batch_size = 0", "or null"),
    "name in params": (("+hydra.sweeper.params={name:a}",), "has name", "give it beside hydra"),
    "variable that is not set": (
        ("paths.output=${oc.env:BITSTILL_NOPE}",),
        "paths.output: ",
        "BITSTILL_NOPE",
        "give paths.output=VALUE",
    ),
    "grid nested": (
        ("hydra.sweeper.grids=[{schedule:{epochs:'1,2'}}]",),
        "write whole names, schedule.epochs: 'A,B'",
    ),
    "params nested": (
        ('+hydra.sweeper.params.schedule.epochs="1,2"',),
        "hydra.sweeper.params has whole settings: give schedule.epochs=A,B itself",
    ),
    "no launcher": (("hydra.launcher=null",), "hydra.launcher = null", "basic, parallel or slurm"),
}


@pytest.mark.parametrize(
    ("command", "case"),
    [
        *((("train", "-m"), case) for case in SWEEPS),
        # Its own setting may be one of nothing, and nothing is launched.
        *((("plan",), case) for case in ("basic sweeper", "sweeper unknown", "too many jobs")),
    ],
    ids=str,
)
def test_a_sweep_that_cannot_be_used(refused: Refused, command: tuple[str, ...], case: str) -> None:
    given, *named = SWEEPS[case]
    line = refused(*command, *SMALL, "paths.output=output", *given)
    for words in named:
        assert words in line


@pytest.mark.parametrize("setting", ["prefer=x", "max_nbytes=x", "batch_size=0", "pre_dispatch=x"])
def test_a_setting_of_joblib_that_cannot_be_used(attack: Attack, setting: str) -> None:
    """It is joblib that finds out, once runs are to begin."""
    processes = "hydra.launcher.n_jobs=2"  # for one, as on a single core, it does not look
    parallel = ("hydra/launcher=parallel", processes, f"hydra.launcher.{setting}")
    code, _, err = attack("train", "-m", *SMALL, "paths.output=output", *parallel)
    assert code == 2
    said, line = err.splitlines()
    assert said == "1 run: 0 skipped, 1 to do"
    assert line.startswith("bitstill: hydra.launcher: ")
    assert line.endswith(": give another value")


FILES = {
    "broken": ("{", "cannot be read"),
    "binary": ("\0\1\2", "cannot be read"),
    "a list": ("- 1\n- 2\n", "experiment is not a setting"),
    "a text": ("hello\n", "experiment is not a setting"),
    "an object": ("seed: !!python/object/apply:os.system [touch executed]\n", "python/object"),
    "a tag": ("seed: !secret 3\n", "!secret"),
    "twice the same key": ("seed: 1\nseed: 2\n", "duplicate"),
    "itself among defaults": ("defaults:\n  - bad\n", "refers to itself"),
    "a choice twice": (
        "# @package _global_\ndefaults: [/schedule: quick]\n",
        "schedule has its choice already: give '- override /schedule: CHOICE' in the file",
    ),
    "another launcher's": (
        "# @package _global_\nhydra: {launcher: {n_jobs: 2}}\n",
        "experiment/bad: n_jobs is not a setting of this launcher: put '- override /hydra/launcher",
    ),
    "no slash": (
        "# @package _global_\ndefaults: [override schedule: quick]\n",
        "experiment/bad: give '- override /schedule: CHOICE', with a slash",
    ),
    "defaults nowhere": ("defaults:\n  - /nowhere: at_all\n", "nowhere"),
    "defaults a mapping": ("defaults: {x: 1}\n", "experiment/bad cannot be used (Invalid defaults"),
    "a default a number": (
        "# @package _global_\ndefaults: [override /loss: 3]\n",
        "experiment/bad cannot be used (Unsupported item value in defaults : int",
    ),
    "a default a mapping": ("defaults: [{/loss: {a: b}}]\n", "experiment/bad cannot be used"),
    "a default null in a list": (
        "defaults: [{/logger: [null]}]\n",
        "experiment/bad cannot be used",
    ),
    "defaults of two keys": ("defaults: [{/a: b, /c: d}]\n", "Too many keys in default item"),
    "unknown key": ("# @package _global_\nsede: 3\n", "sede"),
    "wrong type": ("# @package _global_\nseed: many\n", "seed = 'many'"),
    "not UTF-8": ("# @package _global_\nname: \udcff\n", "UTF-8"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_configuration_file_that_cannot_be_used(refused: Refused, place: Path, case: str) -> None:
    content, words = FILES[case]
    file = place / "mine" / "experiment" / "bad.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content.encode(errors="surrogateescape"))
    line = refused(
        *("train", "--config-dir", str(place / "mine")),
        *(*SMALL, "paths.output=output", "experiment=bad"),
    )
    assert words in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config-dir", "nowhere"),
        ("--config-name", "nothing"),
        ("--config-path", "nowhere"),
    ],
    ids=" ".join,
)
def test_an_option_that_cannot_be_used(refused: Refused, arguments: tuple[str, ...]) -> None:
    line = refused("train", *arguments)
    assert any(one in line for one in arguments)


def test_a_primary_configuration_that_is_not_built_on_ours(refused: Refused, place: Path) -> None:
    """As the copy in a run's ``.hydra`` is none."""
    (place / "own.yaml").write_text("loss: {_target_: bitstill.losses.hard}\n")
    line = refused("train", "--config-dir", str(place), "--config-name", "own")
    assert "--config-name own is not allowed" in line
    assert "defaults: [train, _self_]" in line
    assert ".hydra/overrides.yaml" in line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("~hydra.callbacks.folder", "hydra.callbacks = {} is not allowed: leave it out"),
        ("hydra.sweeper=null", "hydra.sweeper._target_ = None is not allowed: leave hydra/sweeper"),
        ("+hydra.callbacks.folder.x=1", "hydra.callbacks = {'folder': {'_target_': "),
        (
            "hydra.launcher._target_=bitstill.application.FolderCheck",
            "hydra.launcher._target_ = bitstill.application.FolderCheck is not allowed: give hydra",
        ),
    ],
)
def test_what_hydra_s_own_settings_may_not_name(refused: Refused, given: str, said: str) -> None:
    assert said in refused("train", "-m", *SMALL, given)


PLACES = {
    "output is a file": "paths.output=taken",
    "output below a file": "paths.output=taken/below",
    "output too long": f"paths.output=output/{LONG}",
    "output circular": "paths.output=circle",
    "output below a device": "paths.output=/dev/null/x",
    "output with a null": 'paths.output="a\0b"',
    "cache is a file": "paths.cache=taken",
    "cache below a file": "paths.cache=taken/below",
    "cache too long": f"paths.cache=cache/{LONG}",
    "cache circular": "paths.cache=circle",
    "cache with a null": 'paths.cache="a\0b"',
    "teachers is a file": "paths.teachers=taken",
    "teachers below a file": "paths.teachers=taken/below",
    "run is a file": "hydra.run.dir=taken",
    "run below a file": "hydra.run.dir=taken/below",
    "run too long": f"hydra.run.dir=output/{LONG}",
    "run circular": "hydra.run.dir=circle",
    "run with a null": 'hydra.run.dir="a\0b"',
}


@pytest.mark.parametrize("case", PLACES)
def test_a_folder_that_cannot_be_used(refused: Refused, place: Path, case: str) -> None:
    (place / "taken").write_text("mine")
    (place / "circle").symlink_to("circle")
    line = refused("train", *SMALL, "paths.output=output", "loss=soft", PLACES[case])
    assert any(words in line for words in ("taken", "xxx", "circle", "/dev/null", "\\x00"))
    if "hydra.run.dir" in PLACES[case]:
        assert "run.json" not in line, "there is none"
