"""How a logger's run ends."""

from pathlib import Path

import pytest

from bitstill.errors import StoppedError
from bitstill.loggers.callback import Loggers
from bitstill.runs import RunPaths


class Closed:
    """A logger that writes down its end."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, str]] = []

    def close(self, exit_code: int, error: str) -> None:
        self.ends.append((exit_code, error))


@pytest.mark.parametrize(
    ("raised", "end"),
    [
        (KeyboardInterrupt(), (255, "")),
        (SystemExit(143), (255, "")),
        (StoppedError("stopped, and not queued again"), (255, "")),
        (OSError("{}/run.json\nis full"), (1, "OSError: ./run.json is full")),
    ],
    ids=repr,
)
def test_what_has_ended_a_run_is_told_without_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, end: tuple[int, str]
) -> None:
    """A stopped run has not failed; a failed one says why, to whoever may see it on a server."""
    monkeypatch.chdir(tmp_path)
    raised = type(raised)(*(str(one).format(tmp_path) for one in raised.args))
    loggers, one = Loggers(RunPaths(tmp_path), {}), Closed()
    loggers._logs["one"] = one  # type: ignore[assignment]  # it is closed and no more
    with pytest.raises(type(raised)), loggers.closed():
        raise raised
    assert one.ends == [end]
