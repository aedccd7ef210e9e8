"""From a configuration to a finished run; the only module that calls Hydra's ``instantiate``."""

import dataclasses
import functools
import gc
import inspect
import logging
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor

from bitstill.configuration.check import check_batches
from bitstill.data import ImageData
from bitstill.errors import UserError
from bitstill.files import copy_atomically
from bitstill.integer import codes_and_unit
from bitstill.loggers.callback import Loggers, log_finished
from bitstill.loggers.logged import destinations, hand_on, not_logged
from bitstill.models import Network, network_of
from bitstill.runs import RunPaths, RunRecord, finished_record, in_store
from bitstill.runs.identity import identity, teacher_of
from bitstill.runs.locks import exclusive
from bitstill.schema import TrainConfig
from bitstill.training.batches import Batches
from bitstill.training.checkpoints import AtomicCheckpointIO, newest_checkpoint
from bitstill.training.determinism import compute_deterministically
from bitstill.training.devices import device_of, moved
from bitstill.training.evaluation import float_classifier, logits_of
from bitstill.training.interrupts import Interrupts
from bitstill.training.lifecycle import complete
from bitstill.training.lightning import LightningEnvironment, pl, quiet_lightning
from bitstill.training.memory import give_back_freed_memory, keep_freed_memory
from bitstill.training.progress_bar import progress_bar
from bitstill.training.recorder import Recorder
from bitstill.training.tasks import DivergedError, StudentTask, Task, TeacherTask
from bitstill.training.teachers import stored_logits, verify
from bitstill.training.weights import load_weights

log = logging.getLogger(__name__)

_seeding = threading.Lock()
# Lightning's names. Only a step's forward pass is in bf16: weights, sums of gradients, Adam and
# every evaluation stay in float32.
PRECISIONS: dict[str, Any] = {"float32": "32-true", "bf16": "bf16-mixed"}


def run(config: TrainConfig, directory: str | Path, *, progress: bool = False) -> RunRecord:
    """Train what a configuration describes, or return the record of its finished run.

    An interrupted or failed run goes on from its last whole checkpoint.

    Args:
        config: a teacher's or a student's run.
        directory: for the run's files.
        progress: draw Lightning's progress bar.

    Raises:
        UserError: something in the configuration does not fit the data, the machine or the folder.
    """
    threads = torch.get_num_threads()
    try:
        record = _run(config, RunPaths(Path(directory)), progress=progress)
    except Exception as error:
        # Hydra keeps the error until the sweep ends, and with its frames network, images and files.
        traceback.clear_frames(error.__traceback__)
        give_back_freed_memory()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # other processes may share the GPU
        raise
    finally:
        torch.set_num_threads(threads)  # for a next run that does not set them
    gc.collect()  # its networks are in reference cycles, and would stay beside the next run's
    return record


def _run(config: TrainConfig, paths: RunPaths, *, progress: bool) -> RunRecord:
    if (found := finished_record(config, paths)) is not None:
        _log_to_the_rest(config, paths)
        return found
    check_batches(config)
    keep_freed_memory()
    compute_deterministically()
    data = config.data.load()
    if config.is_teacher:
        _refuse_the_store(paths, in_store(config, identity(config, data.identity)))
    return complete(config, data, paths, functools.partial(_fit_run, progress=progress))


def _refuse_the_store(paths: RunPaths, stored: RunPaths) -> None:
    """Refuse to train a teacher in its own place in the store: it would wait for its own lock."""
    if paths.directory.resolve() == stored.directory.resolve():
        raise UserError(
            f"{paths.directory} is where paths.teachers keeps this teacher for all runs: "
            "leave hydra.run.dir out, or give another folder"
        )


def _log_to_the_rest(config: TrainConfig, paths: RunPaths) -> None:
    """Log a finished run to those of its loggers that lack it."""
    if not_logged(config.logger, paths):
        data = config.data.load()
        with exclusive(paths):
            log_finished(config, paths, data)
            if config.is_teacher:
                hand_on(paths, in_store(config, identity(config, data.identity)))


# Not a closure: an error's frames would keep it, and all that it refers to.
def _fit_run(
    config: TrainConfig, data: ImageData, paths: RunPaths, record: RunRecord, *, progress: bool
) -> None:
    device = device_of(config.trainer)
    data = moved(data, device)
    if config.is_teacher:
        stored = _teacher(config, data, progress=progress)
        _publish(stored, paths)
        log_finished(config, paths, data)
        hand_on(paths, stored)
        return
    _see_that_the_quantizer_fits(config)
    logits = None
    if config.needs_teacher:
        logits = _teacher_logits(teacher_of(config), data, progress=progress).to(device)
    _fit(config, data, paths, record, teacher_logits=logits, progress=progress)


def build_network(config: TrainConfig, *, classes: int) -> Network:
    """Return the run's network, initialized from torch's generator."""
    return network_of(dataclasses.asdict(config), is_teacher=config.is_teacher, classes=classes)


def build_task(config: TrainConfig, network: Network) -> Task:
    """Return the LightningModule of a run."""
    if config.is_teacher:
        return TeacherTask(network, config.schedule)
    soft_weight = (
        instantiate(dataclasses.asdict(config.soft_weight)) if config.needs_soft_weight else None
    )
    return StudentTask(network, config.schedule, loss=_loss(config), soft_weight=soft_weight)


def _loss(config: TrainConfig) -> Callable[..., Tensor]:
    """Return a student's loss at its temperature."""
    loss: Callable[..., Tensor] = instantiate(dataclasses.asdict(config.loss))
    if "temperature" in inspect.signature(loss).parameters:
        loss = functools.partial(loss, temperature=config.temperature.value)
    return loss


def _see_that_the_quantizer_fits(config: TrainConfig) -> None:
    """Refuse a user's quantizer whose levels are not those that integers need."""
    quantizer = instantiate(dataclasses.asdict(config.quantizer))
    if quantizer.weight_bits is not None and quantizer.activation_bits is not None:
        codes_and_unit(torch.linspace(-2, 2, 1000), quantizer)


def _teacher(config: TrainConfig, data: ImageData, *, progress: bool) -> RunPaths:
    """Return the files of a teacher in the store, after training it if necessary."""
    paths = in_store(config, identity(config, data.identity))
    # A finished teacher is never trained again, since students may be reading it.
    config = dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, rerun="failed"))
    if finished_record(config, paths) is None:
        complete(config, data, paths, functools.partial(_fit, progress=progress))
    verify(paths)
    return paths


def _publish(stored: RunPaths, paths: RunPaths) -> None:
    """Copy a stored teacher's results into the directory of a run, its record last."""
    for name in ("metrics", "weights", "best_val_weights", "correctness", "record"):
        copy_atomically(getattr(stored, name), getattr(paths, name))
    hand_on(stored, paths)


def _teacher_logits(config: TrainConfig, data: ImageData, *, progress: bool) -> Tensor:
    """Return the logits of a teacher's configuration over the training images."""
    try:
        stored = _teacher(config, data, progress=progress)
    except DivergedError as error:
        raise DivergedError(f"its teacher failed: {error}") from error

    def compute() -> Tensor:
        teacher = build_network(config, classes=data.classes)
        load_weights(teacher, stored.weights)
        teacher.to(data.train.images.device).eval()
        size = config.evaluation.batch_size
        return logits_of(float_classifier(teacher), data.train.images, batch_size=size).cpu()

    return stored_logits(stored, compute)


@quiet_lightning()
def _fit(
    config: TrainConfig,
    data: ImageData,
    paths: RunPaths,
    record: RunRecord,
    *,
    teacher_logits: Tensor | None = None,
    progress: bool,
) -> None:
    """Train one network into a directory, from its checkpoint if there is one."""
    with _seeding:  # all threads share torch's generator, and another may begin a run
        pl.seed_everything(config.seed, verbose=False)
        network = build_network(config, classes=data.classes)
    batches = Batches(
        data.train, teacher_logits, batch_size=config.schedule.batch_size, seed=config.seed
    )
    recorder = Recorder(paths, record, data, config.evaluation)
    loggers = Loggers(paths, destinations(config.logger))
    bar = [progress_bar(recorder.record.model)] if progress else []
    trainer = pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        precision=PRECISIONS[config.trainer.precision],
        max_epochs=config.schedule.epochs,
        callbacks=[recorder, loggers, Interrupts(recorder.save), *bar],  # in this order
        logger=False,  # our loggers read what the recorder writes
        enable_checkpointing=False,  # the recorder writes checkpoints
        enable_model_summary=False,
        enable_progress_bar=progress,
        # Under Slurm, Lightning's own environment would requeue jobs.
        plugins=[LightningEnvironment(), AtomicCheckpointIO()],
        default_root_dir=paths.directory,
    )
    loggers.open(config, recorder.record)
    try:
        with loggers.closed():
            checkpoint, task = newest_checkpoint(paths), build_task(config, network)
            trainer.fit(task, batches, ckpt_path=checkpoint, weights_only=True)
            loggers.finish(recorder.finish(network), data)
    except SystemExit as stopped:  # Lightning turns KeyboardInterrupt into it
        raise KeyboardInterrupt from stopped
