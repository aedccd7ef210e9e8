"""Files of images, in memory."""

import io

from PIL import Image


def encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    """Write an image with Pillow."""
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()
