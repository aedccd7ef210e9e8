"""Imports torch's compiler only when something compiles."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch

_NAME = "torch._dynamo"


class _Compiled(type):
    """Asks torch whether a module is compiled, but only once something has been compiled."""

    def __instancecheck__(cls, one: object) -> bool:
        real = sys.modules.get(_NAME)
        return not isinstance(real, _Dynamo | None) and isinstance(one, real.OptimizedModule)


class _Dynamo(ModuleType):
    """A stand-in for ``torch._dynamo`` until something needs more of it than a run does.

    Lightning and torch's optimizers import it only to say what it must not compile. As long as
    nothing is compiled, this has no effect, and the import takes over a third of a run's start.
    """

    def __init__(self) -> None:
        super().__init__(_NAME)
        # These two are all that code which inspects every module needs.
        self.__spec__ = find_spec(_NAME)
        self.__file__ = self.__spec__.origin if self.__spec__ else None

    class OptimizedModule(metaclass=_Compiled):
        """The class by which Lightning recognizes compiled modules; so far no module is one."""

    @staticmethod
    def graph_break(*_: Any, **__: Any) -> None:
        """Do nothing, as torch does outside of a compilation."""

    @staticmethod
    def disable(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
        """Return the function, or the decorator that does."""
        return function if function is not None else lambda decorated: decorated

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME], torch._dynamo
        return getattr(importlib.import_module(_NAME), name)


@contextmanager
def dynamo_on_demand() -> Iterator[None]:
    """Let modules import ``torch._dynamo`` by name, and load the real one only when it is used."""
    if _NAME in sys.modules:
        yield
        return
    sys.modules[_NAME] = torch._dynamo = stand_in = _Dynamo()
    stand_in.__path__ = []  # "from torch._dynamo import" needs it
    try:
        yield
    finally:
        del stand_in.__path__
