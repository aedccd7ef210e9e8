"""Configuration files: where they may be, each read once for all compositions of a command."""

import copy
import re
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult

from bitstill.errors import UserError, one_line

# Launchers and sweepers that :mod:`bitstill.configuration.guard` refuses, and so are not offered.
_REFUSED = {
    "hydra/launcher": ("joblib", "submitit_local", "submitit_slurm"),
    "hydra/sweeper": ("basic",),
}
_USERS = ("command-line", "hydra.searchpath")  # how Hydra names the sources of users
_PACKAGES = re.compile(r"pkg://hydra(\.conf|_plugins\..+)")  # of Hydra and its plugins


class RememberingRepository(ConfigRepository):
    """Hydra's repository, which reads each file only once.

    That is two fifths of a composition. What was read goes with the loader that a launcher hands
    to the processes of a sweep: they compose what was planned, perhaps hours later, however
    its files are edited meanwhile. Folders may hold configurations, packages may not: to look into
    one is to import it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._read: dict[tuple[str, ...], ConfigResult | None] = {}

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Look into what is searched.

        Raises:
            UserError: a package is, or a folder that is not there.
        """
        for element in config_search_path.get_path():
            path = element.path or ""
            if path.startswith("pkg://") and not _PACKAGES.fullmatch(path):
                raise UserError(
                    f"hydra.searchpath = {path} is not allowed: give folders, file://FOLDER"
                )
        super().initialize_sources(config_search_path)
        for source in self.get_sources():
            if source.provider.startswith("hydra.searchpath") and not source.available():
                raise UserError(
                    f"hydra.searchpath = {source.path} is not a folder: give one that is there"
                )

    def get_group_options(
        self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG
    ) -> list[str]:
        """Return the choices of a group, but for those of Hydra's that are refused."""
        found = super().get_group_options(group_name, results_filter)
        return [one for one in found if one not in _REFUSED.get(group_name, ())]

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a fresh copy of a file for each composition, which may change it."""
        known = (config_path, *(source.path for source in self.sources))
        if known not in self._read:
            self._refuse_two(config_path)
            try:
                self._read[known] = super().load_config(config_path)
            except UnicodeDecodeError:
                raise
            except ValueError as error:  # most such errors do not name the file
                raise UserError(
                    f"{config_path} cannot be used ({one_line(error)}): fix it; its defaults are "
                    "written '- override /GROUP: CHOICE'"
                ) from error
        return copy.deepcopy(self._read[known])

    def _refuse_two(self, config_path: str) -> None:
        """Refuse a user's file with the name of one of ours, which Hydra would prefer."""
        users = (one for one in self.sources if one.provider.startswith(_USERS))
        theirs = next((one for one in users if one.is_config(config_path)), None)
        ours = (one for one in self.sources if not one.provider.startswith(_USERS))
        if theirs is not None and any(one.is_config(config_path) for one in ours):
            raise UserError(
                f"{config_path} in {theirs.path} has the name of bitstill's own, which would be "
                "taken: give it another name"
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> "RememberingRepository":
        """Share the files read so far with the copy that Hydra makes for a composition."""
        return copy.copy(self)


class CachingLoader(ConfigLoaderImpl):
    """Hydra's loader on a :class:`RememberingRepository`."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = RememberingRepository(config_search_path)
        self._known: CachingConfigRepository | None = None

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        *_: Any,  # only shell completion passes these
        **__: Any,
    ) -> list[str]:
        """Return a group's choices.

        Help asks for a hundred groups: all from one copy of what is known, where Hydra makes a copy
        for each, which takes half a second.
        """
        if self._known is None:
            self._known = self._parse_overrides_and_create_caching_repo(None, [])[1]
        return self._known.get_group_options(group_name, results_filter)
