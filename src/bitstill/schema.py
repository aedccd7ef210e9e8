"""The typed schema of a run's configuration.

What a field does to a run is said in ``conf/``, beside its value. A node with ``_target_`` has one
schema a target, so that nothing else can be instantiated.
"""

import functools
import math
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from bitstill.data import Cifar10, Digits, Folder, ImageSource, Parquet, Svhn
from bitstill.loss_inputs import LOSS_INPUTS, OwnLoss, loss_reads
from bitstill.topology import MAX_BITS


def target_name(node: Any) -> str:
    """Return the last part of a node's ``_target_``."""
    return str(node._target_).rpartition(".")[2]


@dataclass(frozen=True)
class Range:
    """The allowed values of a number."""

    above: float = -math.inf
    at_least: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf

    def allows(self, value: Any) -> bool:
        """Whether a number, or every value of a list, is allowed; None always is."""
        if value is None:
            return True
        if isinstance(value, list):
            return all(self.allows(item) for item in value)
        return (
            (isinstance(value, int) or math.isfinite(value))
            and self.above < value < self.below
            and self.at_least <= value <= self.at_most
        )

    def __str__(self) -> str:
        parts = [
            f"{text} {bound if isinstance(bound, int) else format(bound, 'g')}"
            for text, bound in (
                ("above", self.above),
                ("at least", self.at_least),
                ("at most", self.at_most),
                ("below", self.below),
            )
            if math.isfinite(bound)
        ]
        return "a finite number" + (" " if parts else "") + " and ".join(parts)


BITS = Range(at_least=1, at_most=MAX_BITS)
SEEDS = Range(at_least=0, at_most=2**32 - 1)
COUNTS = Range(at_least=1, at_most=2**31 - 1)  # torch's limit


@dataclass(frozen=True)
class ModelConfig:
    """Teacher or student."""

    _target_: str


@dataclass(frozen=True)
class BatchNormConfig:
    """Batch norm of both models."""

    momentum: Annotated[float, Range(above=0, at_most=1)]
    epsilon: Annotated[float, Range(above=0)]


@dataclass(frozen=True)
class QuantizerConfig:
    """The quantizer of the student."""

    _target_: str
    method: Literal["mean_scaled", "dorefa"]
    weight_bits: Annotated[int | None, BITS]
    activation_bits: Annotated[int | None, BITS]
    activation_scale: Annotated[float, Range(above=0)]


@dataclass(frozen=True)
class LossConfig:
    """One of :mod:`bitstill.losses`, without its temperature."""

    _target_: str
    _partial_: bool


@functools.cache  # or two configurations of one loss would be of different types
def own_loss_config(own: OwnLoss) -> type[LossConfig]:
    """Return the schema of a loss of your own."""
    return make_dataclass("OwnLossConfig", own.settings, bases=(LossConfig,), frozen=True)


@dataclass(frozen=True)
class TemperatureConfig:
    """The softmax temperature T."""

    value: Annotated[float, Range(above=0)]


@dataclass(frozen=True)
class SoftWeightConfig:
    """The factor c over the epochs."""

    _target_: str
    _partial_: bool


@dataclass(frozen=True)
class ConstantWeightConfig(SoftWeightConfig):
    """A constant factor c."""

    value: Annotated[float, Range(at_least=0)]


@dataclass(frozen=True)
class FallingWeightConfig(SoftWeightConfig):
    """A factor c that falls during training."""

    initial: Annotated[float, Range(at_least=0)]
    final: Annotated[float, Range(at_least=0)]


@dataclass(frozen=True)
class ScheduleConfig:
    """Epochs, batches, learning rates and L2.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step; an incomplete last batch is dropped.
        learning_rates: Adam's, one a stage.
        milestones: where the next stage begins, as fractions of the epochs, rising; one fewer
            than there are learning rates.
        l2: factor of sum(w^2) / 2 over convolution and fully connected weights.
    """

    epochs: Annotated[int, COUNTS]
    batch_size: Annotated[int, COUNTS]
    learning_rates: Annotated[list[float], Range(above=0)]
    milestones: Annotated[list[float], Range(above=0, below=1)]
    l2: Annotated[float, Range(at_least=0)]

    def learning_rate(self, epoch: int) -> float:
        """Return the rate of an epoch, counted from 0.

        The published 15 and 40 of 60 epochs are fractions here, so that a shorter schedule has
        the same shape; a stage begins after the nearest whole epoch.
        """
        finished = [epoch >= math.floor(share * self.epochs + 0.5) for share in self.milestones]
        return self.learning_rates[sum(finished)]


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher that a student learns from; data, batch norm and trainer are the run's own."""

    seed: Annotated[int, SEEDS]
    schedule: ScheduleConfig


STATISTICS = ("running", "precise")  # of batch norm; precise ones count where measured


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured after every epoch."""

    batch_norm: Literal["both", "running", "precise"]
    calibration_images: Annotated[int, Range(at_least=2, at_most=2**31 - 1)]
    batch_size: Annotated[int, COUNTS]

    @property
    def statistics(self) -> tuple[str, ...]:
        """The kinds of batch norm statistics that accuracies are measured with."""
        return STATISTICS if self.batch_norm == "both" else (self.batch_norm,)

    @property
    def deciding(self) -> str:
        """The kind that ``best_val`` is chosen under, and that a run is known by."""
        return self.statistics[-1]


@dataclass(frozen=True)
class TrainerConfig:
    """Device, threads and precision of training."""

    accelerator: Literal["cpu", "gpu"]
    precision: Literal["float32", "bf16"]
    threads: Annotated[int | None, Range(at_least=1, at_most=1024)]  # or OpenMP ends the process


@dataclass(frozen=True)
class TensorboardConfig:
    """TensorBoard has nothing to set."""


@dataclass(frozen=True)
class WandbConfig:
    """Where and how runs are logged to wandb."""

    mode: Literal["offline", "online", "disabled"]
    project: str
    entity: str | None
    tags: list[str]
    log_artifacts: bool


@dataclass(frozen=True)
class LoggerConfig:
    """The loggers beside ``metrics.csv``; None is not used."""

    tensorboard: TensorboardConfig | None = None
    wandb: WandbConfig | None = None

    @property
    def to_wandb(self) -> WandbConfig | None:
        """The settings of wandb's, where runs are given to it at all."""
        return None if self.wandb is None or self.wandb.mode == "disabled" else self.wandb


@dataclass(frozen=True)
class SweepConfig:
    """How a sweep treats finished and failed runs; no influence on results."""

    rerun: Literal["none", "failed", "all"]
    on_failure: Literal["continue", "stop"]
    detach: bool

    @property
    def repeats_finished(self) -> bool:
        """Whether finished runs are run again."""
        return self.rerun == "all"


@dataclass(frozen=True)
class PathsConfig:
    """Folders; no influence on results."""

    output: str
    teachers: str
    cache: str


@dataclass(frozen=True)
class TrainConfig:
    """One run."""

    name: str
    seed: Annotated[int, SEEDS]
    paths: PathsConfig
    sweep: SweepConfig
    data: ImageSource
    model: ModelConfig
    quantizer: QuantizerConfig
    batch_norm: BatchNormConfig
    loss: LossConfig
    temperature: TemperatureConfig
    soft_weight: SoftWeightConfig
    schedule: ScheduleConfig
    teacher: TeacherConfig
    evaluation: EvaluationConfig
    trainer: TrainerConfig
    logger: LoggerConfig = LoggerConfig()  # for logger=[]

    @property
    def folder(self) -> Path:
        """Of the sweep that the run is of."""
        return Path(self.paths.output) / self.name

    @property
    def is_teacher(self) -> bool:
        """Whether this run trains a teacher."""
        return target_name(self.model) == "Teacher"

    @property
    def kind(self) -> Literal["teacher", "student"]:
        """What this run trains."""
        return "teacher" if self.is_teacher else "student"

    @property
    def loss_name(self) -> str:
        """The loss's name in configuration and tables; teachers are trained with ``hard``."""
        return "hard" if self.is_teacher else target_name(self.loss)

    @property
    def needs_teacher(self) -> bool:
        """Whether the loss reads teacher logits."""
        return loss_reads(self.loss_name, "teacher_logits")

    @property
    def needs_soft_weight(self) -> bool:
        """Whether the loss has a second term."""
        return loss_reads(self.loss_name, "soft_weight")


# The schema of a node by its _target_. Nothing that is missing here is ever instantiated, but for
# losses that installed packages offer.
TARGETS: dict[str, dict[str, type]] = {
    "data": {
        "bitstill.data.Digits": Digits,
        "bitstill.data.Cifar10": Cifar10,
        "bitstill.data.Svhn": Svhn,
        "bitstill.data.Folder": Folder,
        "bitstill.data.Parquet": Parquet,
    },
    "model": {"bitstill.models.Teacher": ModelConfig, "bitstill.models.Student": ModelConfig},
    "quantizer": {"bitstill.quantizers.Quantizer": QuantizerConfig},
    "loss": {f"bitstill.losses.{name}": LossConfig for name in LOSS_INPUTS},
    "soft_weight": {
        "bitstill.losses.constant_weight": ConstantWeightConfig,
        "bitstill.losses.linear_weight": FallingWeightConfig,
        "bitstill.losses.cosine_weight": FallingWeightConfig,
    },
}
