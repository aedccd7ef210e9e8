"""What ``bitstill dashboard --save`` remembers."""

from pathlib import Path

import pytest

from bitstill.dashboards.command import _before
from bitstill.errors import UserError


@pytest.mark.parametrize("text", ["{", "[]", '{"project": ["me", "digits"]}'])
def test_a_damaged_note_of_what_was_saved_is_one_line(tmp_path: Path, text: str) -> None:
    known = tmp_path / "saved.json"
    assert _before(known) == {}
    known.write_text(text)
    with pytest.raises(UserError, match=r"saved\.json cannot be read \(.*\): remove it"):
        _before(known)
