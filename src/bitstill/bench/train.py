"""The speed of a training step: ``bitstill bench train``.

It times the student with the loss ``soft_hard``, which has every part: both terms, and a teacher.
The yardstick is ``benchmarks/plain.py`` on the same number of threads; also timed are the seven
convolutions alone, forward and backward, channels-last. Only steps are timed: no start-up, no
evaluation. The yardstick has a process of its own, because bitstill changes how its process keeps
memory. Lightning's overhead is timed on a network that takes next to no time, since with a real one
it would be lost in the noise.
"""

import functools
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, set_start_method
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitstill.bench.paired import Report, Subject, Timing, paired, versions
from bitstill.bench.plain import PACKAGES, YARDSTICK, load_plain, plain_path
from bitstill.data import Split
from bitstill.losses import constant_weight, soft_hard
from bitstill.models import Network, Student
from bitstill.schema import ScheduleConfig
from bitstill.topology import TOPOLOGY
from bitstill.train import PRECISIONS
from bitstill.training.batches import Batches
from bitstill.training.determinism import compute_deterministically
from bitstill.training.lightning import pl, quiet_lightning
from bitstill.training.memory import keep_freed_memory
from bitstill.training.tasks import StudentTask, Task, TeacherTask

CONVOLUTIONS = "the convolutions alone"
TEMPERATURE = 15.0
_SKIPPED, _STEPS = 4, 8  # a DataLoader's workers prepare the first four in advance
_SCHEDULE = ScheduleConfig(epochs=60, batch_size=1, learning_rates=[0.01], milestones=[], l2=1e-10)


def bench(*, rounds: int, batch_size: int, threads: int) -> Report:
    """Time steps of the student on random images; the time does not depend on the images.

    Raises:
        UserError: the yardstick is missing.
    """
    plain_path()  # fail early if it is missing
    torch.set_num_threads(threads)
    keep_freed_memory()
    compute_deterministically()
    split = _random_images(batch_size)
    logits = torch.randn(len(split), 10)
    batches = Batches(split, logits, batch_size=batch_size, seed=0)
    with ProcessPoolExecutor(1, get_context("spawn"), _fork_workers) as other:
        subjects: dict[str, Subject] = {
            YARDSTICK: lambda: other.submit(_plain_step, batch_size, threads).result(),
            **{
                f"bitstill, {precision}": functools.partial(_our_step, _student, batches, precision)
                for precision in PRECISIONS
            },
            CONVOLUTIONS: _convolutions(batch_size),
        }
        settings = {"threads": threads, "batch": batch_size}
        timings = paired(subjects, yardstick=YARDSTICK, rounds=rounds, settings=settings)
    shares = _shares(timings, lightning=_lightning(batches, rounds))
    return Report("ms a step", 1e3, rounds, timings, versions(PACKAGES), shares)


def _fork_workers() -> None:
    """Let a DataLoader fork its workers even in a spawned process, as it would in a script."""
    set_start_method("fork", force=True)


def _random_images(batch_size: int) -> Split:
    """Return the images for one measurement."""
    generator = torch.Generator().manual_seed(0)
    count = batch_size * (_SKIPPED + _STEPS)
    images = torch.randint(0, 256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(0, 10, (count,), generator=generator))


def _shares(timings: list[Timing], *, lightning: float) -> dict[str, str]:
    """Return the speed relative to torch's convolutions, and Lightning's share, by the medians."""
    middle = {one.subject: one.seconds[1] for one in timings}
    ours = middle["bitstill, float32"]
    return {
        "speed of float32 against torch's convolutions alone": f"{middle[CONVOLUTIONS] / ours:.2f}",
        "what Lightning takes of it": f"{1000 * lightning:.2f} ms, {lightning / ours:.1%}",
    }


class _Clock(pl.Callback):
    """Times the steps of a fit, except the first few."""

    seconds = 0.0
    _begun = 0.0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Read the clock before the first counted step and after the last."""
        if batch_idx == _SKIPPED - 1:
            self._begun = time.perf_counter()
        if batch_idx == _SKIPPED + _STEPS - 1:
            self.seconds = (time.perf_counter() - self._begun) / _STEPS


def _fit(task: pl.LightningModule, batches: Iterable[Any], **settings: Any) -> float:
    """Return the seconds per step under Lightning."""
    clock = _Clock()
    with quiet_lightning():
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            callbacks=[clock],
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
            **settings,
        )
        trainer.fit(task, batches)
    return clock.seconds


def _plain_step(batch_size: int, threads: int) -> float:
    """Return the seconds per step of the baseline, in the current process."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore")  # Lightning would give advice
    plain, split = load_plain(), _random_images(batch_size)
    teacher = plain.network(quantized=False)
    student = plain.network(quantized=True)
    task = plain.Distillation(student, "soft_hard", TEMPERATURE, teacher=teacher)
    batches = plain.loader(split.images.numpy(), split.labels.numpy(), batch_size, train=True)
    with tempfile.TemporaryDirectory() as folder:
        return _fit(task, batches, log_every_n_steps=1, default_root_dir=folder)


def _student() -> Task:
    return StudentTask(
        Student(),
        _SCHEDULE,
        loss=functools.partial(soft_hard, temperature=TEMPERATURE),
        soft_weight=functools.partial(constant_weight, value=TEMPERATURE**2),
    )


class _OnePixel(Network):
    """A network that classifies by one pixel."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.classifier = nn.Linear(3, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(images[:, :, :1, :1])


def _one_pixel() -> Task:
    return TeacherTask(_OnePixel(), _SCHEDULE)


def _lightning(batches: Batches, rounds: int) -> float:
    """Return the seconds per step that Lightning adds, as the median over rounds."""
    pairs = [
        (_our_step(_one_pixel, batches), _step_alone(_one_pixel, batches)) for _ in range(rounds)
    ]
    return median(under - alone for under, alone in pairs)


def _our_step(task: Callable[[], Task], batches: Batches, precision: str = "float32") -> float:
    settings: dict[str, Any] = {"precision": PRECISIONS[precision]}
    return _fit(task(), batches, logger=False, log_every_n_steps=len(batches), **settings)


def _step_alone(task: Callable[[], Task], batches: Batches) -> float:
    """Return the seconds per step without Lightning, over the same steps as :class:`_Clock`."""
    trained, ends = task(), []
    optimizer = trained.configure_optimizers()
    for number, batch in enumerate(batches):
        optimizer.zero_grad()
        trained.training_step(batch, number).backward()
        optimizer.step()
        ends.append(time.perf_counter())
    return (ends[_SKIPPED + _STEPS - 1] - ends[_SKIPPED - 1]) / _STEPS


def _convolutions(batch_size: int) -> Callable[[], float]:
    """Return a function that times all convolutions of a step; the image needs no gradient."""
    work, side = [], 32

    def like_images(*shape: int) -> Tensor:
        return torch.randn(*shape).contiguous(memory_format=torch.channels_last)

    for number, (_, channels_in, channels_out, pool) in enumerate(TOPOLOGY):
        features = like_images(batch_size, channels_in, side, side).requires_grad_(number > 0)
        weight = like_images(channels_out, channels_in, 3, 3).requires_grad_()
        gradient = like_images(batch_size, channels_out, side, side)
        work.append((features, weight, torch.zeros(channels_out, requires_grad=True), gradient))
        side //= 2 if pool else 1

    def timed() -> float:
        begun = time.perf_counter()
        for _ in range(_STEPS):
            for features, weight, bias, gradient in work:
                features.grad = weight.grad = bias.grad = None
                F.conv2d(features, weight, bias, padding=1).backward(gradient)
        return (time.perf_counter() - begun) / _STEPS

    return timed
