import io
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tests.pictures import encoded

from bitstill.data.images import decode_image, quiet_pillow


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_32x32_stays_bit_for_bit(pictures: NDArray[np.uint8], file_format: str) -> None:
    image_bytes = encoded(Image.fromarray(pictures[0]), file_format)
    assert np.array_equal(decode_image(image_bytes), pictures[0])


def test_jpeg_is_what_pillow_decodes(pictures: NDArray[np.uint8]) -> None:
    image_bytes = encoded(Image.fromarray(pictures[0]), "JPEG")
    assert np.array_equal(
        decode_image(image_bytes), np.asarray(Image.open(io.BytesIO(image_bytes)))
    )


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (64, 64), (100, 20)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_size_and_mode(size: tuple[int, int], mode: str) -> None:
    white = Image.new("RGB", size, "white").convert(mode)
    decoded = decode_image(encoded(white))
    assert decoded.shape == (32, 32, 3)
    assert decoded.dtype == np.uint8
    assert (decoded == 255).all()


def test_cmyk_jpeg() -> None:
    decoded = decode_image(encoded(Image.new("RGB", (40, 40), "red").convert("CMYK"), "JPEG"))
    assert decoded.reshape(-1, 3).mean(axis=0) == pytest.approx([255, 0, 0], abs=4)


def test_alpha_is_dropped(pictures: NDArray[np.uint8]) -> None:
    alpha = np.full((32, 32, 1), 7, np.uint8)
    image = Image.fromarray(np.concatenate([pictures[0], alpha], axis=2))
    assert np.array_equal(decode_image(encoded(image)), pictures[0])


def test_palette_with_transparency_gives_its_colours() -> None:
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    decoded = decode_image(encoded(image, transparency=bytes([0, 0])))
    assert (decoded == [10, 20, 30]).all()


def test_16_bit_grey_keeps_its_upper_byte() -> None:
    values = np.linspace(0, 0xFFFF, 1024).astype(np.uint16).reshape(32, 32)
    decoded = decode_image(encoded(Image.fromarray(values)))
    assert np.array_equal(decoded[..., 0], values >> 8)


@pytest.mark.parametrize("value", [-1, 200, 255, 1 << 16])
def test_32_bit_grey_is_refused(value: int) -> None:
    image = Image.fromarray(np.full((4, 4), value, np.int32))
    with pytest.raises(ValueError, match="does not say which value is white"):
        decode_image(encoded(image, "TIFF"))


def test_floating_point_is_refused() -> None:
    with pytest.raises(ValueError, match="does not say which value is white"):
        decode_image(encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"))


@pytest.mark.parametrize("turned", [1, 3, 6, 8])
def test_a_photo_is_turned_upright(turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    upright = Image.new("RGB", (32, 32))
    upright.paste((255, 255, 255), (0, 0, 32, 8))  # a light sky
    back = {1: 0, 3: 180, 6: 90, 8: 270}[turned]
    image_bytes = encoded(upright.rotate(back), exif=exif)
    assert np.array_equal(decode_image(image_bytes), np.asarray(upright))


def test_what_else_a_camera_says_does_not_matter() -> None:
    orientation = struct.pack("<HHLL", 0x0112, 3, 1, 3)
    unit = struct.pack("<HHL4s", 0x0128, 2, 4, b"mm")  # of resolution: it is not a text
    exif = b"Exif\0\0II*\0" + struct.pack("<LH", 8, 2) + orientation + unit + bytes(4)
    turned = Image.fromarray(np.arange(3072, dtype=np.uint8).reshape(32, 32, 3))
    expected = np.asarray(turned.transpose(Image.Transpose.ROTATE_180))
    assert np.array_equal(decode_image(encoded(turned, exif=exif)), expected)


def test_16_bits_of_which_white_is_zero_are_refused() -> None:
    image = Image.fromarray(np.zeros((4, 4), np.uint16))
    file = encoded(image, "TIFF")
    assert decode_image(file).max() == 0
    at = file.index(struct.pack("<HHLL", 262, 3, 1, 1))
    file = file[:at] + struct.pack("<HHLL", 262, 3, 1, 0) + file[at + 12 :]
    with pytest.raises(ValueError, match="has to have 16, with 0 as black"):
        decode_image(file)


@pytest.mark.parametrize("exif", [b"II*\0\xff\xff\xff\xff", b"II*\0", b"none"])
def test_a_damaged_orientation_is_none(pictures: NDArray[np.uint8], exif: bytes) -> None:
    image_bytes = encoded(Image.fromarray(pictures[0]), exif=b"Exif\0\0" + exif)
    with quiet_pillow():
        assert np.array_equal(decode_image(image_bytes), pictures[0])


def test_formats_that_start_other_programs_are_not_read() -> None:
    with pytest.raises(ValueError, match=r"^it is EPS: give one of PNG, JPEG, "):
        decode_image(encoded(Image.new("RGB", (32, 32)), "EPS"))


def test_far_too_many_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1200)
    image = encoded(Image.new("RGB", (40, 40)))
    with quiet_pillow(), pytest.raises(ValueError, match="it has 40 x 40 pixels, which is too"):
        decode_image(image)
    assert decode_image(encoded(Image.new("RGB", (30, 40)))).shape == (32, 32, 3)


def test_a_side_that_is_far_too_long_is_refused() -> None:
    """Each row costs memory: 69 bytes would take gigabytes."""
    with pytest.raises(ValueError, match="it has 1 x 70000 pixels, above 65536 on a side"):
        decode_image(encoded(Image.new("L", (1, 70_000))))


def test_what_only_some_of_pillows_decoders_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (RuntimeError, NotImplementedError, TypeError, KeyError, EOFError, OverflowError):

        def fail(*_: object, error: type[Exception] = error, **__: object) -> None:
            raise error("no frame")

        monkeypatch.setattr("PIL.Image.open", fail)
        with pytest.raises(ValueError, match="no frame"):
            decode_image(b"")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), file_format=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF"]))
def test_damage_raises_nothing_but_value_error(
    pictures: NDArray[np.uint8], data: st.DataObject, file_format: str
) -> None:
    image_bytes = bytearray(encoded(Image.fromarray(pictures[0]), file_format))
    end = data.draw(st.integers(0, len(image_bytes)))
    for position in data.draw(st.lists(st.integers(0, min(200, len(image_bytes) - 1)), max_size=4)):
        image_bytes[position] = data.draw(st.integers(0, 255))
    try:
        with quiet_pillow():
            decoded = decode_image(bytes(image_bytes[:end]))
    except ValueError:
        return
    assert decoded.shape == (32, 32, 3)


def test_other_sizes_are_resized_bilinearly() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8))
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(decode_image(encoded(image)), expected)


@pytest.mark.parametrize(
    ("said", "undo"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (7, Image.Transpose.TRANSVERSE),
    ],
)
def test_a_mirrored_photo_is_turned_upright(said: int, undo: Image.Transpose) -> None:
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = said
    file = encoded(upright.transpose(undo), exif=exif)
    assert np.array_equal(decode_image(file), np.asarray(upright))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bits_that_hold_8_or_12_are_refused(file_format: str) -> None:
    """As of an array of 0 to 255, or of a camera's frame, as uint16: all of it would be black."""
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    for of_camera in (values, 16 * values):
        with pytest.raises(ValueError, match="within 12 bits does not say which value is white"):
            decode_image(encoded(Image.fromarray(of_camera), file_format))
    assert not decode_image(encoded(Image.fromarray(values * 0), file_format)).any()
