"""The networks: one topology, with teacher blocks or student blocks.

Seven 3x3 convolutions, a 4x4 average pool and a fully connected layer, 293,418 trainable numbers
in either model. Normalization and initialization are those of TensorFlow 1, which the published
code ran on.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitstill.fused import fused_block, may_be_fused
from bitstill.quantizers import Quantizer, quantize_activation
from bitstill.topology import FEATURES, TOPOLOGY, Layer

# The standard deviation of a normal distribution truncated at two standard deviations.
_TRUNCATED_STD = 0.87962566103423978


def to_input(images: Tensor) -> Tensor:
    """Turn stored images into network input.

    The published code fed 0..255; dividing by 255 is the usual setting today. No mean is
    subtracted. The result lies channels-last in memory, as the images do, so nothing is moved.

    Args:
        images: uint8, (N, 32, 32, 3).

    Returns:
        float32, (N, 3, 32, 32), in [0, 1].
    """
    return images.permute(0, 3, 1, 2).float() / 255


def initialize(weight: Tensor) -> None:
    """Fill with a normal truncated at two standard deviations, rescaled to variance 1/fan_in."""
    fan_in = weight[0].numel()
    std = fan_in**-0.5 / _TRUNCATED_STD
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class Block(nn.Module, ABC):
    """Convolution, batch norm and what follows it, then the pool where the topology has one.

    ``forward`` is ``activate(convolve(x))``: the two halves are apart so that exact statistics can
    be taken between them (:mod:`bitstill.training.evaluation`).
    """

    def __init__(self, layer: Layer, *, affine: bool, momentum: float, epsilon: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(layer.channels_in, layer.channels_out, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(
            layer.channels_out, eps=epsilon, momentum=momentum, affine=affine
        )
        self.pool = layer.pool
        initialize(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]  # built with a bias

    def convolve(self, x: Tensor) -> Tensor:
        """Return the convolution, (N, channels_in, H, W) -> (N, channels_out, H, W)."""
        result: Tensor = self.conv(x)
        return result

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Batch norm's running mean and variance, each (channels_out,)."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None  # noqa: S101, PT018  # they are tracked
        return mean, variance

    @abstractmethod
    def activate(self, convolved: Tensor) -> Tensor:
        """Normalize, activate and pool what ``convolve`` returned; a pool halves H and W."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, (N, channels_in, H, W) -> (N, channels_out, H, W) or half."""
        return self.activate(self.convolve(x))

    def _pooled(self, features: Tensor) -> Tensor:
        return F.max_pool2d(features, 2) if self.pool else features


class TeacherBlock(Block):
    """Convolution, batch norm with scale and shift, ReLU."""

    def __init__(self, layer: Layer, *, momentum: float, epsilon: float) -> None:
        super().__init__(layer, affine=True, momentum=momentum, epsilon=epsilon)

    def activate(self, convolved: Tensor) -> Tensor:
        """Normalize, rectify and pool."""
        # Pooling first: the same values and gradients, with a quarter as many to rectify.
        return F.relu(self._pooled(self.norm(convolved)), inplace=True)


class StudentBlock(Block):
    """Convolution with quantized weights, batch norm, affine (|k| + 1) x + b, quantized features.

    The affine layer and the quantizer's multiplier are one scale and shift, so they ride in batch
    norm's own: clip(s ((|k| + 1) n + b)) = clip((s (|k| + 1)) n + s b). The pool comes last; of
    1-bit features the max pool is an OR.
    """

    def __init__(
        self, layer: Layer, *, quantizer: Quantizer, momentum: float, epsilon: float
    ) -> None:
        super().__init__(layer, affine=False, momentum=momentum, epsilon=epsilon)
        self.quantizer = quantizer
        self.gain = nn.Parameter(torch.ones(layer.channels_out))  # k
        self.offset = nn.Parameter(torch.zeros(layer.channels_out))  # b

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; in training, with published bits on a CPU, all of it in C."""
        assert self.norm.momentum is not None  # noqa: S101  # given as a float
        features = self._fused(x, momentum=self.norm.momentum) if self.training else None
        return super().forward(x) if features is None else features

    def calibrate(self, x: Tensor) -> Tensor | None:
        """Take the exact statistics of all of x, and return the output under them.

        A step in training, whose statistics are all that is remembered: in C, or else None.

        Args:
            x: (N, channels_in, H, W).
        """
        for statistic in self.statistics:
            statistic.zero_()  # momentum 1 multiplies them by 0, but 0 * NaN would stay NaN
        features = self._fused(x, momentum=1)
        if features is not None:
            count = x.numel() // x.shape[1]
            self.statistics[1].mul_((count - 1) / count)  # of the population: biased
        return features

    def _fused(self, x: Tensor, *, momentum: float) -> Tensor | None:
        if not (self.quantizer.has_published_bits and may_be_fused(x)):
            return None
        assert self.conv.bias is not None  # noqa: S101  # built with one
        return fused_block(
            x,
            self.quantizer.quantize_weight(self.conv.weight),
            bias=self.conv.bias,
            gain=self.gain,
            offset=self.offset,
            multiplier=self.quantizer.activation_scale,
            statistics=self.statistics,
            momentum=momentum,
            epsilon=self.norm.eps,
            pool=self.pool,
        )

    def convolve(self, x: Tensor) -> Tensor:
        """Return the convolution with quantized weights."""
        weight = self.quantizer.quantize_weight(self.conv.weight)
        return F.conv2d(x, weight, self.conv.bias, padding=1)

    def activate(self, convolved: Tensor) -> Tensor:
        """Normalize, scale and shift, quantize and pool."""
        multiplier = self.quantizer.activation_scale
        normalized = F.batch_norm(
            convolved,
            self.norm.running_mean,
            self.norm.running_var,
            weight=multiplier * (self.gain.abs() + 1),
            bias=multiplier * self.offset,
            training=self.norm.training,
            momentum=self.norm.momentum,  # type: ignore[arg-type]  # given as a float
            eps=self.norm.eps,
        )
        bits = self.quantizer.activation_bits
        return self._pooled(quantize_activation(normalized, bits=bits, scale=1))


class Network(nn.Module):
    """The topology around one kind of block: images (N, 3, 32, 32) in [0, 1] -> logits."""

    def __init__(self, block: Callable[[Layer], Block], *, classes: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({layer.name: block(layer) for layer in TOPOLOGY})
        self.classifier = nn.Linear(FEATURES, classes)
        initialize(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)
        # Most of the time goes into convolutions, which run faster on channels-last memory.
        for parameter in self.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def stages(self) -> list[Block]:
        """Return the blocks in the order of the topology."""
        return [block for block in self.blocks.values() if isinstance(block, Block)]

    def classify(self, features: Tensor) -> Tensor:
        """Average pool and fully connected layer: (N, 128, 4, 4) -> logits (N, classes)."""
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) for images (N, 3, 32, 32) in [0, 1]."""
        features = images
        for block in self.stages():
            features = block(features)
        return self.classify(features)


class Teacher(Network):
    """The full-precision network, the published *baseline*.

    Args:
        classes: number of classes.
        batch_norm_momentum: weight of a batch in the running statistics (TensorFlow's 0.99 is
            0.01 here).
        batch_norm_epsilon: added to the variance.
    """

    def __init__(
        self,
        *,
        classes: int = 10,
        batch_norm_momentum: float = 0.01,
        batch_norm_epsilon: float = 1e-3,
    ) -> None:
        block = partial(TeacherBlock, momentum=batch_norm_momentum, epsilon=batch_norm_epsilon)
        super().__init__(block, classes=classes)


class Student(Network):
    """The quantized network, the published *q1*: 2-bit weights and 1-bit features by default.

    Only the input image and the last layer are not quantized.

    Args:
        quantizer: what the blocks quantize with; None is the published one.
        classes: number of classes.
        batch_norm_momentum: weight of a batch in the running statistics (TensorFlow's 0.99 is
            0.01 here).
        batch_norm_epsilon: added to the variance.
    """

    def __init__(
        self,
        *,
        quantizer: Quantizer | None = None,
        classes: int = 10,
        batch_norm_momentum: float = 0.01,
        batch_norm_epsilon: float = 1e-3,
    ) -> None:
        quantizer = quantizer or Quantizer()
        block = partial(
            StudentBlock,
            quantizer=quantizer,
            momentum=batch_norm_momentum,
            epsilon=batch_norm_epsilon,
        )
        super().__init__(block, classes=classes)
        self.quantizer = quantizer


def network_of(config: Mapping[str, Any], *, is_teacher: bool, classes: int) -> Network:
    """Return the network of a run's configuration, initialized from torch's generator.

    Args:
        config: plain values, as a record has them.
        is_teacher: whether the run is a teacher's.
        classes: number of classes.

    Raises:
        ValueError: :class:`Quantizer` refuses the quantizer's settings.
    """
    settings: dict[str, Any] = {
        "classes": classes,
        "batch_norm_momentum": float(config["batch_norm"]["momentum"]),
        "batch_norm_epsilon": float(config["batch_norm"]["epsilon"]),
    }
    if is_teacher:
        return Teacher(**settings)
    quantizer = {key: value for key, value in config["quantizer"].items() if key[0] != "_"}
    return Student(quantizer=Quantizer(**quantizer), **settings)
