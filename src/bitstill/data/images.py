"""One encoded image (PNG, JPEG, ...) as 32x32 RGB."""

from __future__ import annotations

import io
import math
import struct
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from bitstill.errors import UserError, one_line
from bitstill.topology import SIDE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

# Formats of pictures alone: for some others, such as PostScript, Pillow starts a program.
FORMATS = (
    *("PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP", "PPM"),
    *("AVIF", "JPEG2000", "ICO", "TGA", "PCX"),
)


_LARGEST = 2**30  # bytes: a larger file is not a picture of one thing
_LONGEST = 2**16  # pixels a side, JPEG's limit: each row costs memory, however short it is
_CAMERA_BITS = 12  # some programs write 12-bit grey unscaled into 16-bit files


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence Pillow about damaged metadata, and about sizes that :func:`decode_image` refuses.

    Filters of warnings are the whole process's: around threads that decode, and not in them.
    """
    from PIL import Image

    with warnings.catch_warnings():
        for kind in (UserWarning, Image.DecompressionBombWarning):
            warnings.simplefilter("ignore", kind)
        yield


def image_extensions() -> set[str]:
    """Return how the names of image files end, as ``.png``, in lower case."""
    from PIL.Image import registered_extensions

    return {end for end, form in registered_extensions().items() if form in FORMATS}


def read_image(file: Path) -> NDArray[np.uint8]:
    """Decode an image file, as :func:`decode_image` does.

    Returns:
        uint8, shape (32, 32, 3).

    Raises:
        UserError: it is no file, or cannot be read, or is no image.
    """
    try:
        if file.is_dir():
            raise UserError(f"{file} cannot be entered: give a folder that can")
        if file.exists() and not file.is_file():  # reading a pipe or device may never end
            raise UserError(f"{file} is not a file: give an image file, or a folder of them")
        if file.stat().st_size > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST} bytes")
        return decode_image(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): give an image file") from error
    except ValueError as error:
        reason = one_line(error).partition(" <_io.BytesIO")[0]
        raise UserError(f"{file} is not an image ({reason}): give PNG, JPEG or the like") from error


def decode_image(image_bytes: bytes) -> NDArray[np.uint8]:
    """Decode an image of any mode, of up to 89 million pixels (Pillow's limit), 65,536 a side.

    A photo is turned upright; an alpha channel is dropped; 16-bit grey keeps its upper byte; other
    sizes are resized (bilinear, both sides on their own). A 32x32 RGB image stays as it is, bit for
    bit.

    Returns:
        uint8, shape (32, 32, 3).

    Raises:
        ValueError: the bytes are no image that Pillow can decode, its white is not known, or it has
            so many pixels that it is not a picture of one thing.
    """
    from PIL import Image

    # Pillow's decoders raise all of these on damaged data: PNG's a SyntaxError, TIFF's a TypeError.
    damage = (
        *(OSError, EOFError, SyntaxError, TypeError, LookupError, ArithmeticError),
        *(RuntimeError, struct.error, Image.DecompressionBombError),
    )
    try:
        with Image.open(io.BytesIO(image_bytes)) as image:
            if image.format not in FORMATS:
                raise ValueError(f"it is {image.format}: give one of {', '.join(FORMATS)}")
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise ValueError(f"it has {image.width} x {image.height} pixels, which is too many")
            if max(image.size) > _LONGEST:
                raise ValueError(
                    f"it has {image.width} x {image.height} pixels, above {_LONGEST} on a side"
                )
            _refuse_unknown_white(image)
            rgb = _rgb(_upright(image))
    except damage as error:
        raise ValueError(str(error)) from error
    if rgb.size != (SIDE, SIDE):
        rgb = rgb.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def _upright(image: Image) -> Image:
    """Apply a photo's EXIF orientation, if it can be read."""
    from PIL.ExifTags import Base
    from PIL.Image import Transpose

    turns: dict[object, Transpose] = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    image.load()  # of a TIFF, this already applies the orientation
    try:
        turn = turns.get(image.getexif().get(Base.Orientation))
    except (ValueError, TypeError, SyntaxError, struct.error):
        return image
    return image if turn is None else image.transpose(turn)


def _refuse_unknown_white(image: Image) -> None:
    """Refuse grey images that do not say which value is white."""
    if image.mode == "F":
        raise ValueError("mode F, floating point, does not say which value is white")
    tags = getattr(image, "tag_v2", None)  # of a TIFF; 258: bits, 262: whether 0 is white
    if image.mode.startswith("I;16") and tags and (tags.get(258), tags.get(262)) != ((16,), 1):
        raise ValueError("a TIFF of 9 to 16 bits has to have 16, with 0 as black")
    if image.mode.startswith("I"):
        low, high = np.asarray(image).min(), np.asarray(image).max()
        if low < 0 or high > 0xFFFF:
            raise ValueError("mode I beyond 16 bits does not say which value is white")
        if 0 < high < 2**_CAMERA_BITS:  # the upper byte would be nearly black
            raise ValueError(
                f"mode {image.mode} within {_CAMERA_BITS} bits does not say which value is white"
            )


def _rgb(image: Image) -> Image:
    from PIL.Image import fromarray

    if image.mode.startswith("I"):  # Pillow would clip 16-bit grey at 255: all white
        return fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:  # in one step, Pillow warns of a palette's alpha
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")  # convert always copies
