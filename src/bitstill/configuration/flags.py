"""Accepts Hydra's flags anywhere between settings, and reports wrong ones in one line."""

import argparse
from collections.abc import Sequence
from types import SimpleNamespace
from typing import NoReturn

from hydra._internal import utils

from bitstill.errors import UserError


class _HydrasParser(argparse.ArgumentParser):
    """Accepts help texts that are objects, as Hydra 1.3 has one; Python 3.14 refuses them."""

    def _check_help(self, action: argparse.Action) -> None:
        pass


# Only Hydra sees this replacement, wherever it creates its parser.
utils.argparse = SimpleNamespace(**vars(argparse) | {"ArgumentParser": _HydrasParser})  # type: ignore[attr-defined, assignment]


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments in the order that Hydra's parser wants: settings in one row.

    Raises:
        UserError: flags cannot be read, or Hydra would unpickle what one names, or pass it over.
    """
    flags, rest = _parser().parse_known_args(arguments)
    if unknown := [one for one in rest if one.startswith("-")]:
        raise UserError(f"{unknown[0]} is not a flag: see bitstill train --help")
    if flags.package is not None and flags.cfg is None:
        raise UserError("--package shows a part of a configuration: give --cfg job, too")
    if flags.config_path is not None:
        raise UserError("--config-path is not allowed: give --config-dir FOLDER, searched as well")
    if flags.experimental_rerun is not None:
        raise UserError("--experimental-rerun is not allowed: give the run's own command again")
    settings = [*flags.overrides, *rest]
    return [*_without(arguments, settings), *settings]


def _parser() -> argparse.ArgumentParser:
    """Return Hydra's parser, with errors of one line instead of a page of usage."""

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}: see bitstill train --help")

    parser = utils.get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    return parser


def _without(arguments: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Return the arguments without the settings, which are among them in the same order."""
    left, others = list(settings), []
    for one in arguments:
        if left and one == left[0]:
            del left[0]
        else:
            others.append(one)
    return others
