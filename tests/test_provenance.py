"""What a record says of the code that a run begins with."""

import pytest

from bitstill.provenance import git_commit


def test_a_checkout_without_git_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit.__wrapped__() is None
