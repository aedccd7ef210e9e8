"""What is said of a library's error."""

import pytest

from bitstill.errors import first_line, one_line


@pytest.mark.parametrize(
    ("message", "first", "one"),
    [("no  space\n left", "no  space", "no space left"), ("", "OSError", "OSError")],
)
def test_an_error_is_one_line(message: str, first: str, one: str) -> None:
    assert (first_line(OSError(message)), one_line(OSError(message))) == (first, one)
