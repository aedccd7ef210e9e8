"""Finished runs made in a moment."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.conftest import made_up
from tests.students import QUANTIZER, random_images, random_student

from bitstill.models import Teacher
from bitstill.runs import RunPaths, RunRecord
from bitstill.training.weights import save_weights


def record(model: str, **changes: Any) -> RunRecord:
    last = {"epoch": 3.0, "val/accuracy": 0.5, "test/accuracy": 0.75}
    best = {"epoch": 2.0, "val/accuracy": 0.625, "test/accuracy": 0.5}
    selections: Any = {"last": last, "best_val": best, "best_test": last}
    config = {
        "quantizer": QUANTIZER | changes.pop("quantizer", {}),
        "batch_norm": {"momentum": 0.01, "epsilon": 1e-3},
    }
    both = {"running": selections, "precise": selections}
    known = {"model": model, "epoch": 3, "epochs": 3, "config": config, "selections": both}
    return made_up(**known | changes)


@pytest.fixture
def student_run(tmp_path: Path) -> Path:
    """A student's folder; its exact statistics are running ones with another mean."""
    directory = tmp_path / "sweep" / "student"
    directory.mkdir(parents=True)
    student = random_student(5)
    exact = {
        name: value + 0.01
        for name, value in student.state_dict().items()
        if name.endswith("running_mean")
    }
    save_weights(student, RunPaths(directory).weights, exact)
    save_weights(random_student(6), RunPaths(directory).best_val_weights, exact)
    record("student").write(RunPaths(directory))
    return directory


@pytest.fixture
def teacher_run(tmp_path: Path) -> Path:
    directory = tmp_path / "sweep" / "teacher"
    directory.mkdir(parents=True)
    torch.manual_seed(0)
    save_weights(Teacher(), RunPaths(directory).weights, {})
    selections = record("teacher").selections
    del selections["precise"]
    record("teacher", selections=selections, temperature=None).write(RunPaths(directory))
    return directory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one in a subfolder, and a file that is none."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    one, two = random_images(4).numpy()[2:]
    Image.fromarray(one).save(folder / "b.png")
    Image.fromarray(two).resize((64, 48)).save(folder / "more" / "a.jpg")
    (folder / "notes.txt").write_text("no image")
    return folder
