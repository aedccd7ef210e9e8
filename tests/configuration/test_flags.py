"""Hydra's flags, in any order and on any Python."""

import argparse

import pytest
from hydra._internal.utils import get_args_parser
from tests.conftest import Train

from bitstill.configuration.flags import flags_first


def test_python_3_14_takes_hydras_parser() -> None:
    """It looks at each help when an argument is added, and one of Hydra's is not a text."""
    parser = get_args_parser()
    for action in parser._actions:
        parser._check_help(action)  # type: ignore[attr-defined]
    assert type(argparse.ArgumentParser()) is argparse.ArgumentParser  # others have theirs


def test_settings_stand_behind_flags() -> None:
    arguments = ["loss=soft", "-m", "seed=1", "--config-dir", "mine", "name=x"]
    expected = ["-m", "--config-dir", "mine", "loss=soft", "seed=1", "name=x"]
    assert flags_first(arguments) == expected
    assert flags_first(["loss=soft", "--multirun"]) == ["--multirun", "loss=soft"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--frobnicate"], ["--frobnicate is not a flag", "bitstill train --help"]),
        (["seed=1", "--cfg", "foo"], ["--cfg", "'foo'", "job", "bitstill train --help"]),
        (["seed=1", "--cfg"], ["--cfg", "expected one argument", "bitstill train --help"]),
    ],
)
def test_a_wrong_flag_is_explained_in_one_line(
    train: Train, arguments: list[str], named: list[str]
) -> None:
    code, out, err = train(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("bitstill: ")
    assert all(words in err for words in named), err


def test_a_configuration_is_shown_by_flags_between(train: Train) -> None:
    code, out, err = train("loss=soft", "--cfg", "job", "seed=7", "-p", "loss")
    assert (code, err) == (0, "")
    assert "_target_: bitstill.losses.soft" in out
    assert "seed" not in out
