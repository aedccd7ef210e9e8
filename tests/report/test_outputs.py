"""What a trained network says: of a student, what its packed file says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.report.conftest import write_run

import bitstill
from bitstill.engine.packed import to_bytes
from bitstill.integer import integer_network
from bitstill.models import Student, to_input
from bitstill.packing import pack
from bitstill.quantizers import Quantizer
from bitstill.report.outputs import logits
from bitstill.report.sweeps import Run, read_sweep
from bitstill.training.weights import save_weights

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)


@pytest.fixture
def student() -> Student:
    torch.manual_seed(0)
    return Student(quantizer=Quantizer(activation_scale=0.5)).eval()


@pytest.fixture
def run(student: Student, tmp_path: Path) -> Run:
    paths = write_run(tmp_path, "hard", 15.0, 0, 90.0)
    exact = {name: buffer.clone() for name, buffer in student.named_buffers()}
    save_weights(student, paths.weights, exact)
    (found,) = read_sweep(tmp_path)
    return found


def test_a_student_answers_as_it_is_deployed(student: Student, run: Run) -> None:
    run.paths.packed.write_bytes(to_bytes(pack(integer_network(student))))
    found = logits(run, IMAGES)
    assert found is not None
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, bitstill.load(run.paths.packed).logits(IMAGES))


def test_without_a_packed_file_the_weights_answer(student: Student, run: Run) -> None:
    found = logits(run, IMAGES)
    assert found is not None
    with torch.no_grad():
        expected = student(to_input(torch.from_numpy(IMAGES)))
    np.testing.assert_array_equal(found, expected.double().numpy())


def test_without_weights_there_is_no_answer(run: Run) -> None:
    run.paths.weights.unlink()
    assert logits(run, IMAGES) is None
