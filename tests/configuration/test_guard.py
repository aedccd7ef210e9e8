"""Help lists what Hydra would list, with one copy of its repository."""

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from bitstill import application
from bitstill.configuration.guard import GuardedLoader

pytestmark = pytest.mark.usefixtures("restored")


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
    monkeypatch.delattr(GuardedLoader, "get_group_options")
    with pytest.raises(SystemExit, match="0"):
        application.train(["--help"])
    assert capsys.readouterr().out == ours
    assert "temperature: T1, T10, T100, T15, T50" in ours
    assert few <= 4 < copies - few


def test_hydra_s_own_help_is_there(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        application.train(["--hydra-help"])
    assert capsys.readouterr().out.startswith("Hydra (")
