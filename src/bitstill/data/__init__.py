"""Images in memory: sources, fixed splits, identity by checksum.

Importing this package imports neither torch nor any decoder, so that a process which only needs
`source.identity()` stays light.
"""

from bitstill.data.cifar10 import Cifar10
from bitstill.data.digits import Digits
from bitstill.data.folder import Folder
from bitstill.data.parquet import Parquet
from bitstill.data.source import ImageSource, read_once
from bitstill.data.splits import ImageData, Split
from bitstill.data.svhn import Svhn

__all__ = [
    "Cifar10",
    "Digits",
    "Folder",
    "ImageData",
    "ImageSource",
    "Parquet",
    "Split",
    "Svhn",
    "read_once",
]
