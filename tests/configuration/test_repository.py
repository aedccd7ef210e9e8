"""Configuration files are read once for all compositions of a command."""

import copy
from pathlib import Path

import cloudpickle
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from bitstill import application
from bitstill.configuration.repository import CachingLoader, RememberingRepository
from bitstill.errors import UserError


def search_path(*folders: Path) -> ConfigSearchPath:
    found = ConfigSearchPathImpl()
    for folder in folders:
        found.append("test", f"file://{folder}")
    found.append("schema", "structured://")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Plugins.instance()  # which know what reads files
    (tmp_path / "one.yaml").write_text("value: 1\n")
    return tmp_path


def config(repository: RememberingRepository) -> DictConfig:
    found = repository.load_config("one")
    assert found is not None
    assert isinstance(found.config, DictConfig)
    return found.config


def value(repository: RememberingRepository) -> object:
    return config(repository).value


def test_a_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = RememberingRepository(search_path(folder))
    assert value(repository) == 1
    monkeypatch.delattr(FileConfigSource, "load_config")
    assert value(repository) == 1
    assert value(copy.deepcopy(repository)) == 1, "Hydra makes a copy for each composition"


def test_what_a_copy_has_read_is_known_to_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = RememberingRepository(search_path(folder))
    assert value(copy.deepcopy(repository)) == 1
    monkeypatch.delattr(FileConfigSource, "load_config")
    assert value(repository) == 1


def test_a_composition_may_change_what_it_was_given(folder: Path) -> None:
    repository = RememberingRepository(search_path(folder))
    for _ in range(2):
        found = config(repository)
        assert found.value == 1
        found.value = 2


def test_another_search_path_has_other_files(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "one.yaml").write_text("value: 3\n")
    repository = RememberingRepository(search_path(folder))
    assert value(repository) == 1
    copied = copy.deepcopy(repository)
    copied.initialize_sources(search_path(other, folder))
    assert value(copied) == 3
    assert value(repository) == 1


def test_what_is_missing_is_none(folder: Path) -> None:
    repository = RememberingRepository(search_path(folder))
    assert [repository.load_config("two") for _ in range(2)] == [None, None]


def test_another_process_composes_what_was_planned(folder: Path) -> None:
    repository = RememberingRepository(search_path(folder))
    assert value(repository) == 1
    (folder / "one.yaml").write_text("value: 4\n")
    assert value(repository) == 1
    # What launchers send with: it takes classes too that Hydra has since loaded anew in place.
    assert value(cloudpickle.loads(cloudpickle.dumps(repository))) == 1


@pytest.mark.parametrize("provider", ["command-line", "hydra.searchpath in main"])
def test_a_name_of_ours_is_refused(folder: Path, tmp_path: Path, provider: str) -> None:
    """Hydra would take ours, and say nothing."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "one.yaml").write_text("value: 2\n")
    (theirs / "two.yaml").write_text("value: 2\n")
    path = search_path(folder)
    path.append(provider, f"file://{theirs}")
    repository = RememberingRepository(path)
    assert repository.load_config("two") is not None
    with pytest.raises(UserError, match=rf"^one in {theirs} has the name of bitstill's own, which"):
        repository.load_config("one")


@pytest.mark.usefixtures("restored")
def test_help_says_the_same_and_copies_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = 0
    original = ConfigLoaderImpl._parse_overrides_and_create_caching_repo

    def counted(self: ConfigLoaderImpl, *arguments: object) -> object:
        nonlocal copies
        copies += 1
        return original(self, *arguments)  # type: ignore[arg-type]  # as given

    monkeypatch.setattr(ConfigLoaderImpl, "_parse_overrides_and_create_caching_repo", counted)
    with pytest.raises(SystemExit, match="0"):
        application.train(["--help"])
    ours, few = capsys.readouterr().out, copies
    monkeypatch.delattr(CachingLoader, "get_group_options")
    with pytest.raises(SystemExit, match="0"):
        application.train(["--help"])
    assert capsys.readouterr().out == ours
    assert "temperature: T1, T10, T100, T15, T50" in ours
    assert few <= 4 < copies - few


def test_hydra_s_own_help_is_there(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        application.train(["--hydra-help"])
    assert capsys.readouterr().out.startswith("Hydra (")
