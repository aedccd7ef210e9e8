"""bitstill: distil a full-precision CNN into one with 2-bit weights and 1-bit features."""

__version__ = "0.1.0"
