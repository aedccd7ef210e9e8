"""A run has one process that works on it."""

from collections.abc import Callable
from pathlib import Path

from bitstill.locks import exclusive
from bitstill.runs import RunPaths, RunRecord, read_record


def test_what_a_killed_process_was_writing_is_removed_by_the_next(
    tmp_path: Path, made_up: Callable[..., RunRecord]
) -> None:
    paths = RunPaths(tmp_path)
    made_up().write(paths)
    paths.metrics.touch()
    others = [tmp_path / name for name in (".student.bsq.abcd1234", "run.json.damaged", ".hydra")]
    for path in others:
        path.touch()
    for name in ("run.json", "last.ckpt", "metrics.csv", "train_logits.safetensors"):
        (tmp_path / f".{name}.abcd1234").touch()
    with exclusive(paths):
        found = set(tmp_path.iterdir())
    assert found == {paths.record, paths.metrics, paths.lock, *others}
    assert read_record(paths) == made_up()
