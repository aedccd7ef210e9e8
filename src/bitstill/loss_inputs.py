"""What each loss takes: one of bitstill's four, or a function that an installed package offers.

A configuration may name such a function as well: which code can be called is decided when a package
is installed, not by whoever wrote the configuration. Nothing here imports torch, unless a package
of your own does.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_type_hints

from bitstill.errors import UserError, first_line

LOSS_INPUTS: dict[str, tuple[str, ...]] = {
    "hard": (),
    "soft": ("teacher_logits",),
    "soft_hard": ("teacher_logits", "soft_weight"),
    "gt_soft_hard": ("soft_weight",),
}
"""What bitstill's losses read besides logits, labels and temperature."""

GROUP = "bitstill.losses"  # of entry points
_INPUTS = ("teacher_logits", "labels", "temperature", "soft_weight", "progress")
_TYPES = (bool, int, float, str)


@dataclass(frozen=True)
class OwnLoss:
    """A loss that a package offers: a function of the student's logits and any of the inputs.

    Attributes:
        target: the function's full name, as in the configuration.
        reads: the inputs that it takes.
        settings: its other arguments, with their types; they are set in the configuration.
        source: its text, without comments and layout.
        package: the name and version of its package.
    """

    target: str
    reads: frozenset[str]
    settings: tuple[tuple[str, type], ...]
    source: str
    package: tuple[str, str]


def loss_reads(loss: str, name: str) -> bool:
    """Whether a loss reads ``teacher_logits`` or ``soft_weight``; an unknown one reads neither.

    Raises:
        UserError: as :func:`own_loss`.
    """
    if loss in LOSS_INPUTS:
        return name in LOSS_INPUTS[loss]
    own = own_loss(loss)
    return own is not None and name in own.reads


@functools.cache
def own_loss(name: str) -> OwnLoss | None:
    """Return the loss of your own that has a name; None if none is offered, or bitstill has it.

    Raises:
        UserError: several are offered, or it cannot be imported, or not be called as a loss.
    """
    found = [] if name in LOSS_INPUTS else [one for one in _offered() if _name(one) == name]
    if not found:
        return None
    entry, *others = found
    if others:
        packages = " and ".join(_package(one)[0] for one in found)
        raise UserError(
            f"{packages} offer a loss {name} each: uninstall one, or rename its function"
        )
    target = _target(entry)
    try:
        function = entry.load()
        source = ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(function))))
        types = get_type_hints(function)
    except Exception as error:
        raise UserError(
            f"the loss {target} cannot be used ({type(error).__name__}: {first_line(error)}): mend "
            f"the package {_package(entry)[0]}, or uninstall it"
        ) from error
    takes = _arguments(target, function)
    settings = tuple((one, types.get(one, object)) for one in takes if one not in _INPUTS)
    for one, kind in settings:
        if kind not in _TYPES:
            allowed = ", ".join(known.__name__ for known in _TYPES)
            raise UserError(f"the loss {target} takes {one}: annotate it with one of {allowed}")
    return OwnLoss(target, frozenset(takes) & {*_INPUTS}, settings, source, _package(entry))


def own_targets() -> list[str]:
    """Return the full names of all losses that installed packages offer."""
    return [_target(entry) for entry in _offered()]


@functools.cache
def _offered() -> Sequence[EntryPoint]:
    return [*entry_points(group=GROUP)]


def _target(entry: EntryPoint) -> str:
    return f"{entry.module}.{entry.attr}"


def _name(entry: EntryPoint) -> str:
    return _target(entry).rpartition(".")[2]


def _package(entry: EntryPoint) -> tuple[str, str]:
    assert entry.dist is not None  # noqa: S101  # entry_points() sets it
    return entry.dist.name, entry.dist.version


def _arguments(target: str, function: Callable[..., Any]) -> list[str]:
    """Return the names of a loss's arguments after the first, the student's logits."""
    signature = inspect.signature(function)
    found = list(signature.parameters.values())
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if (
        not found
        or found[0].name in _INPUTS
        or found[0].kind is inspect.Parameter.KEYWORD_ONLY
        or any(one.kind not in by_name for one in found[1:])
    ):
        raise UserError(
            f"the loss {target} takes {signature}: give the student's logits first, and each other "
            "argument by its name"
        )
    return [one.name for one in found[1:]]
