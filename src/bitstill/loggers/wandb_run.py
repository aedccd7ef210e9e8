"""Begins and ends wandb runs: silently, without data on this machine, even without network."""

import functools
import logging
import os
import shutil
import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from bitstill.errors import first_line
from bitstill.loggers.wandb_files import has_data, keep_wandb_quiet, mark_sent, online_folders
from bitstill.schema import WandbConfig

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

_BEGIN_SECONDS = 10.0  # how long to wait for a server, once per process
_END_SECONDS = 20.0  # how long to wait until the rest of a run's data is sent
_WRITE_SECONDS = 5.0  # how long to wait until an offline run's data is written
_unreachable = Event()  # set when a server has not answered this process in time


def begin(
    settings: WandbConfig, folder: Path, *, run_id: str, config: dict[str, Any], **options: str
) -> "wandb.Run":
    """Begin or resume a run; offline, with one warning, if the server does not answer.

    Args:
        settings: mode, project, entity, tags.
        folder: of the sweep; wandb writes into ``wandb/`` in it.
        run_id: the same for a resumed run.
        config: what the run is.
        **options: ``name``, ``group`` and ``job_type``, as ``wandb.init`` has them.
    """
    keep_wandb_quiet()
    _say_what_is_not_read()
    import wandb

    def init(mode: Literal["offline", "online", "disabled"]) -> wandb.Run:
        return wandb.init(
            mode=mode,
            project=settings.project,
            entity=settings.entity,
            tags=settings.tags or None,  # None: WANDB_TAGS, if set
            dir=folder,
            id=run_id,
            resume="allow",
            config=config,
            settings=_discreet(wandb.Settings),
            **options,  # type: ignore[arg-type]  # all are strings
        )

    folder.mkdir(parents=True, exist_ok=True)
    if settings.mode != "online" or _unreachable.is_set():
        return init("offline" if settings.mode == "online" else settings.mode)
    before = set(online_folders(folder, run_id))
    try:
        return init("online")
    except wandb.Error as error:
        _unreachable.set()
        why = first_line(error)
        log.warning("wandb is offline (%s): bitstill sync %s sends it later", why, folder)
    wandb.teardown()  # its service would keep the id in use
    for left in set(online_folders(folder, run_id)) - before:
        shutil.rmtree(left, ignore_errors=True)  # empty, left by the attempt
    return init("offline")


@functools.cache  # said once per process
def _say_what_is_not_read() -> None:
    for name, setting in (("WANDB_MODE", "mode"), ("WANDB_PROJECT", "project")):
        if name in os.environ:
            log.warning("%s is not read: give logger.wandb.%s", name, setting)


def _discreet(settings: type["wandb.Settings"]) -> "wandb.Settings":
    """Return settings that keep user, host, paths and arguments out of the run."""
    return settings(
        x_disable_meta=True,
        x_disable_machine_info=True,
        disable_git=True,
        disable_code=True,
        x_save_requirements=False,
        host="",
        username="",
        email="",
        program="bitstill",
        init_timeout=_BEGIN_SECONDS,
        finish_timeout=_END_SECONDS,
        finish_timeout_raises=True,
        x_transaction_log_flush_interval=1.0,  # a killed run keeps all but its last second
    )


def end(run: "wandb.Run", folder: Path, exit_code: int) -> None:
    """End a run; what the server has not received in time stays in the folder for a later sync."""
    files = Path(run.settings.sync_file)
    online = not (run.offline or run.disabled)
    try:
        run.finish(exit_code=exit_code)
    except TimeoutError:
        _unreachable.set()  # the process's next runs do not wait
        log.warning("wandb has not received everything: bitstill sync %s sends the rest", folder)
        return
    if online and files.exists():  # marked as `wandb sync` marks it
        mark_sent(files)
    if run.offline:
        _wait_for(files)


def _wait_for(file: Path) -> None:
    """Wait for wandb's service, which still writes an offline run after ``finish``.

    Whoever counts at once what is not sent would miss it.
    """
    ends = time.monotonic() + _WRITE_SECONDS
    while not has_data(file) and time.monotonic() < ends:
        time.sleep(0.01)
