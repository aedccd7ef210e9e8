"""The exported C file: compiled by itself, under sanitizers, against the integer network."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.sanitized import sanitized
from tests.students import random_images, random_student, with_bits

from bitstill import load
from bitstill.deploy.c_source import c_source
from bitstill.engine.packed import PackedModel, read_packed
from bitstill.integer import integer_network
from bitstill.packing import pack, unpack

ROOT = Path(__file__).parents[2]
STUDENT = ROOT / "multirun/svhn-resplit/hard-T15-seed0-a9cdba57f2/student.bitstill"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wmissing-prototypes")
MAIN = """
#include <stdint.h>
#include <stdio.h>
int student_predict(const uint8_t image[3072]);
void student_logits(const uint8_t image[3072], float *logits);
extern const char *const student_classes[];
int main(void) {
  uint8_t image[3072];
  while (fread(image, sizeof image, 1, stdin)) {
    float logits[OUTPUTS];
    student_logits(image, logits);
    fwrite(logits, sizeof logits, 1, stdout);
    fprintf(stderr, "%d\\n", student_predict(image));
  }
  for (int i = 0; i < OUTPUTS; i++) fprintf(stderr, "%s\\n", student_classes[i]);
}
"""


def computed(
    model: PackedModel, images: NDArray[np.uint8], folder: Path
) -> tuple[NDArray[np.float32], list[str]]:
    """Return the logits of images, and a line for each one's class, and each class's name."""
    main, student, classes = folder / "main.c", folder / "student.c", len(model.classes)
    main.write_text(MAIN)
    student.write_bytes(c_source(model))
    flags = (*STRICT, "-Werror", f"-DOUTPUTS={classes}")
    program = sanitized(folder / "program", [main, student], *flags)
    done = subprocess.run(program, input=images.tobytes(), capture_output=True, check=True)  # noqa: S603
    logits = np.frombuffer(done.stdout, np.float32).reshape(-1, classes)
    return logits, done.stderr.decode().splitlines()


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits"), [(2, 1), (1, 1), (8, 1), (1, 3), (3, 2), (8, 8)]
)
def test_every_logit_is_the_integer_networks(
    weight_bits: int, activation_bits: int, tmp_path: Path
) -> None:
    quantizer, images = with_bits(weight_bits, activation_bits), random_images(8)
    network = integer_network(random_student(2, quantizer, classes=7))
    found, lines = computed(pack(network), images.numpy(), tmp_path)
    expected = network(images).numpy()
    assert np.array_equal(found, expected)
    assert lines == [*map(str, expected.argmax(axis=1)), *"0123456"]


def test_thresholds_beyond_every_sum(tmp_path: Path) -> None:
    """As a packed file may have them."""
    model, images = pack(integer_network(random_student(9))), random_images(5)
    for layer in model.layers:
        layer.thresholds[:2], layer.thresholds[2:4] = -(2**27), 2**27
    found, _ = computed(model, images.numpy(), tmp_path)
    assert np.array_equal(found, unpack(model)(images).numpy())


@pytest.mark.parametrize("planes", [0, 255])
@pytest.mark.parametrize("place", [0, 6])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(2, 1), (8, 8)])
def test_the_largest_and_the_least_sums(
    weight_bits: int, activation_bits: int, place: int, planes: int, tmp_path: Path
) -> None:
    """All inputs and weights of a layer at their limits, and thresholds there or one beside."""
    model = pack(integer_network(random_student(4, with_bits(weight_bits, activation_bits))))
    for layer in model.layers[:place]:
        layer.thresholds[:] = -(2**27)
    inputs = 27 * 255 if place == 0 else 9 * 128 * (2**activation_bits - 1)
    sign = 1 if planes else -1
    layer = model.layers[place]
    layer.planes[:] = planes
    layer.thresholds[:] = sign * inputs * (2**weight_bits - 1)
    layer.thresholds[::2] += 1
    images = torch.full((1, 32, 32, 3), 255, dtype=torch.uint8)
    found, _ = computed(model, images.numpy(), tmp_path)
    assert np.array_equal(found, unpack(model)(images).numpy())


def test_names_and_what_is_known_are_only_text(tmp_path: Path) -> None:
    """A packed file may come from anywhere."""
    network = integer_network(random_student(0))
    names = ('"', "\\", "%s?\u2603", "*/", "??/", "a b", "\\0", "{};", "\u00e9\u4e2d", "7 11")
    model = pack(network, classes=names, identity="*/ # error /*", selection='"*/\\')
    _, found = computed(model, np.empty(0, np.uint8), tmp_path)
    assert found == list(names)


def test_the_program_in_the_documentation(tmp_path: Path) -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    program = re.search(r"```c\n(.*?)```", page, re.DOTALL)
    assert program is not None
    (tmp_path / "main.c").write_text(program[1])
    (tmp_path / "student.c").write_bytes(c_source(read_packed(STUDENT)))
    image = (7 * np.arange(32 * 32 * 3) % 256).astype(np.uint8)
    sources = [tmp_path / "main.c", tmp_path / "student.c"]
    built = sanitized(tmp_path / "program", sources, *STRICT, "-Werror")
    done = subprocess.run(built, input=image.tobytes(), capture_output=True, check=True)  # noqa: S603
    assert done.stdout.decode() == f"{load(STUDENT).predict(image.reshape(1, 32, 32, 3))[0]}\n"
