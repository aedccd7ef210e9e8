"""Takes a run from its beginning to its end, and records how it ended."""

import dataclasses
import logging
import traceback
from collections.abc import Callable

from bitstill.data import ImageData
from bitstill.errors import StoppedError, UserError
from bitstill.portable import portable_text
from bitstill.runs import (
    RunPaths,
    RunRecord,
    Status,
    read_record,
    record_to_go_on_from,
    refuse_another,
    refuse_foreign,
)
from bitstill.runs.locks import exclusive
from bitstill.schema import TrainConfig
from bitstill.training.memory import give_back_freed_memory
from bitstill.training.provenance import new_record

log = logging.getLogger(__name__)

Fit = Callable[[TrainConfig, ImageData, RunPaths, RunRecord], None]


def complete(config: TrainConfig, data: ImageData, paths: RunPaths, fit: Fit) -> RunRecord:
    """Train a run to its end under its lock, unless another process has done so.

    Args:
        config: the run's configuration.
        data: its images.
        paths: its files.
        fit: trains and writes the run's files, last a record that is done; it receives the three
            arguments above and the record that the run begins with.

    Raises:
        UserError: the folder holds another run, or files that belong to no run.
    """
    new = new_record(config, data)
    refuse_foreign(paths)  # before the lock, which would mark the folder as a run's
    with exclusive(paths):
        found = record_to_go_on_from(paths)
        refuse_another(paths, found, new.identity)
        if found is not None and found.done:
            if not config.sweep.repeats_finished:  # another process has done it meanwhile
                return found
            paths.clear()
        try:
            fit(config, data, paths, new)
        except (KeyboardInterrupt, StoppedError):
            _mark(new, paths, "interrupted")
            raise
        except Exception as error:
            give_back_freed_memory()  # writing the record needs memory, too
            _mark(new, paths, "failed", error)
            raise
        record = read_record(paths)
        assert record is not None  # noqa: S101  # fit writes it last
        return record


def _mark(new: RunRecord, paths: RunPaths, status: Status, error: Exception | None = None) -> None:
    """Write an early end into the record; a full disk must not hide the original error.

    A run that is done stays done: only its loggers were still at work.
    """
    try:
        found = read_record(paths) or new
        if found.done:
            return
        record = dataclasses.replace(found, status=status, error=None)
        if error is not None:
            described = {
                "type": type(error).__name__,
                "message": portable_text(str(error)),
                "traceback": portable_text("".join(traceback.format_exception(error))),
            }
            record = dataclasses.replace(record, error=described)
        record.write(paths)
    except (OSError, UserError) as unwritable:
        log.warning("the record of %s cannot be written: %s", paths.directory, unwritable)
