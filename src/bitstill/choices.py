"""Listing all choices, in a moment."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.object_type import ObjectType


@contextmanager
def listed_at_once() -> Iterator[None]:
    """Let Hydra's help look for the choices of all groups in one copy of what it knows.

    It makes a copy for each of a hundred groups otherwise, which takes half a second.
    """
    original = ConfigLoaderImpl.get_group_options
    copies: list[CachingConfigRepository] = []

    def options(
        self: ConfigLoaderImpl,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        if config_name or overrides:  # as completion asks, once
            return original(self, group_name, results_filter, config_name, overrides)
        if not copies:
            copies.append(self._parse_overrides_and_create_caching_repo(None, [])[1])
        return copies[0].get_group_options(group_name, results_filter)

    ConfigLoaderImpl.get_group_options = options  # type: ignore[method-assign]  # no hook is there
    try:
        yield
    finally:
        ConfigLoaderImpl.get_group_options = original  # type: ignore[method-assign]
