"""Hydra's flags, in any order and on any Python."""

import argparse

import pytest
from hydra._internal.utils import get_args_parser

from bitstill.configuration.flags import flags_first
from bitstill.errors import UserError


def test_python_3_14_takes_hydras_parser() -> None:
    """It looks at each help when an argument is added, and one of Hydra's is no text."""
    parser = get_args_parser()
    for action in parser._actions:
        parser._check_help(action)  # type: ignore[attr-defined]
    assert type(argparse.ArgumentParser()) is argparse.ArgumentParser  # others have theirs


def test_settings_stand_behind_flags() -> None:
    arguments = ["loss=soft", "-m", "seed=1", "--config-dir", "mine", "name=x"]
    expected = ["-m", "--config-dir", "mine", "loss=soft", "seed=1", "name=x"]
    assert flags_first(arguments) == expected
    assert flags_first(["loss=soft", "--multirun"]) == ["--multirun", "loss=soft"]


def test_a_wrong_flag_is_one_line() -> None:
    with pytest.raises(UserError, match="--unknown is no flag: see bitstill train --help"):
        flags_first(["loss=soft", "--unknown"])
