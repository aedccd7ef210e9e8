"""The seven convolutions of both models, and limits on numbers of classes and bits.

Imports no torch, since what is deployed needs none.
"""

from typing import NamedTuple


class Layer(NamedTuple):
    """One convolution: its name, channels in and out, and whether a pool follows."""

    name: str
    channels_in: int
    channels_out: int
    pool: bool


TOPOLOGY = (
    Layer("conv1", 3, 16, pool=True),
    Layer("conv21", 16, 32, pool=False),
    Layer("conv22", 32, 32, pool=True),
    Layer("conv31", 32, 64, pool=False),
    Layer("conv32", 64, 64, pool=True),
    Layer("conv41", 64, 128, pool=False),
    Layer("conv42", 128, 128, pool=False),
)
FEATURES = TOPOLOGY[-1].channels_out
SIDE = 32  # width and height of an image in pixels
MAX_BITS = 8  # of weights and of features
MAX_CLASSES = 4096  # so that a wrong label cannot take all memory
