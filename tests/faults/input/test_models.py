"""Packed models and images that are none, for ``bitstill predict``; options of ``export``."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save
from tests.damage import Damage, a_circle, a_folder, a_link, a_pipe, nothing
from tests.pictures import encoded
from tests.students import random_student

from bitstill.engine.packed import MAX_BYTES, to_bytes
from bitstill.integer import integer_network
from bitstill.packing import pack

Refused = Callable[..., str]
Attack = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def content() -> bytes:
    return to_bytes(pack(integer_network(random_student(3))))


@pytest.fixture
def model(place: Path, content: bytes) -> Path:
    file = place / "student.bitstill"
    file.write_bytes(content)
    return file


@pytest.fixture
def image(place: Path) -> Path:
    file = place / "image.png"
    Image.new("RGB", (32, 32)).save(file)
    return file


MODELS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "text": lambda content: b"a student",
    "another safetensors file": lambda content: save({"x": np.zeros(3)}),
    "pickle": lambda content: b"cos\nsystem\n(S'touch executed'\ntR.",
    "onnx": lambda content: b"\x08\x08\x12\x08bitstill",
    "zip": lambda content: b"PK\x03\x04" + bytes(100),
    "cut at its head": lambda content: content[:100],
    "cut at its end": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "one bit": lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
    "huge": lambda content: content + bytes(MAX_BYTES),
    "header of 2^63": lambda content: b"\xff" * 7 + b"\x7f" + content[8:],
    "another version": lambda content: content.replace(b'"version":"1"', b'"version":"2"'),
    "nested header": lambda content: (100_000).to_bytes(8, "little") + b"{" * 100_000,
}


@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_is_none(
    refused: Refused, model: Path, image: Path, content: bytes, case: str
) -> None:
    model.write_bytes(MODELS[case](content))
    line = refused("predict", str(model), str(image))
    assert "student.bitstill is not a valid packed model" in line
    assert "export it again" in line


a_device = a_link("/dev/zero")
NO_FILES: dict[str, Damage] = {"missing": nothing, "folder": a_folder, "circle": a_circle}


@pytest.mark.parametrize("case", [*NO_FILES, "device"])
def test_a_model_that_is_no_file(refused: Refused, model: Path, image: Path, case: str) -> None:
    model.unlink()
    ({**NO_FILES, "device": a_device})[case](model)
    assert "student.bitstill" in refused("predict", str(model), str(image))


IMAGES = {
    "empty": b"",
    "text": b"a cat",
    "half": encoded(Image.new("RGB", (32, 32)))[:50],
    "JPEG cut": encoded(Image.new("RGB", (32, 32)), "JPEG")[:200],
    "floating point": encoded(Image.new("F", (32, 32)), "TIFF"),
    "vector": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    "archive": b"PK\x03\x04" + bytes(100),
    "GIF of nothing": b"GIF89a" + bytes(20),
    "zeros": bytes(1000),
}


@pytest.mark.parametrize(("given", "case"), [*(("bad.png", case) for case in IMAGES), ("", "half")])
def test_an_image_that_is_none(
    refused: Refused, place: Path, model: Path, given: str, case: str
) -> None:
    """Of a folder, it is as if it had been named."""
    (place / "images").mkdir()
    (place / "images" / "bad.png").write_bytes(IMAGES[case])
    line = refused("predict", str(model), str(place / "images" / given))
    assert "bad.png is not an image" in line
    assert "give PNG, JPEG or the like" in line


@pytest.mark.parametrize("case", [*NO_FILES, "device", "pipe"])
def test_an_image_that_is_no_file(refused: Refused, place: Path, model: Path, case: str) -> None:
    file = place / "bad.png"
    ({**NO_FILES, "device": a_device, "pipe": a_pipe})[case](file)
    assert "bad.png" in refused("predict", str(model), str(file))


@pytest.mark.parametrize("case", ["circle", "device", "pipe"])
def test_a_folder_with_what_is_no_image_file(
    refused: Refused, place: Path, model: Path, case: str
) -> None:
    (place / "images").mkdir()
    {"circle": a_circle, "device": a_device, "pipe": a_pipe}[case](place / "images" / "bad.png")
    assert "images" in refused("predict", str(model), str(place / "images"))


def test_a_folder_that_is_named_like_an_image(
    attack: Attack, place: Path, model: Path, image: Path
) -> None:
    (place / "images" / "folder.png").mkdir(parents=True)
    image.rename(place / "images" / "folder.png" / "image.png")
    code, out, _ = attack("predict", str(model), str(place / "images"))
    assert code == 0
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize("name", ["mit Abstand.png", "ünïcödé 图.png", "-dash.png", "$(x).png"])
def test_names_of_images(attack: Attack, place: Path, model: Path, image: Path, name: str) -> None:
    image.rename(place / name)
    for options in ((), ("--json",)):
        code, _, err = attack("predict", *options, "--", str(model), str(place / name))
        assert code == 0, err


def test_a_name_that_is_not_utf8(attack: Attack, place: Path, model: Path, image: Path) -> None:
    name = os.fsdecode(b"bad-\xff.png")
    image.rename(place / name)
    code, out, err = attack("predict", str(model), str(place / name))
    assert code == 0, err
    assert "bad-\N{REPLACEMENT CHARACTER}.png" in out


USAGE = [
    (),
    ("nonsense",),
    ("--nonsense",),
    ("predict",),
    ("predict", "student.bitstill"),
    ("predict", "student.bitstill", "image.png", "--threads", "0"),
    ("predict", "student.bitstill", "image.png", "--threads", "many"),
    ("predict", "student.bitstill", "image.png", "--colour"),
    ("predict", "a\0b", "image.png"),
    ("status",),
    ("status", "a", "b"),
    ("status", "a\0b"),
    ("report",),
    ("export",),
    ("export", "run", "--format"),
    ("bench", "nonsense"),
    ("bench", "deploy", "--rounds", "0"),
    ("bench", "train", "--rounds", "3", "--threads", "-1"),
]


@pytest.mark.parametrize("arguments", USAGE, ids=repr)
def test_arguments_that_are_none(attack: Attack, arguments: tuple[str, ...]) -> None:
    code, out, err = attack(*arguments)
    assert code == 2
    assert "Traceback" not in err
    assert any(words in out + err for words in ("Usage: ", "Error: Option"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "tflite"), "packed, c, onnx, qonnx"),
        (("--select", "best_test"), "last, best_val"),
        (("--statistics", "exact"), "running, precise"),
    ],
)
def test_options_of_export(refused: Refused, options: tuple[str, ...], words: str) -> None:
    assert words in refused("export", "nowhere", *options)
