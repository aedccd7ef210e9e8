"""The teacher's soft targets at each temperature."""

import base64
import io

import numpy as np

from bitstill.data.splits import ImageData, evenly
from bitstill.report.figures.figure import Figure, Row, Spec, channel, temperature_axis, where
from bitstill.report.outputs import sampled, softmax, teacher_logits
from bitstill.report.published import TEMPERATURES
from bitstill.report.sweeps import Run, RunSet

_SHOWN = (1.0, *TEMPERATURES)
_IMAGES = 4096
_EXAMPLES = 3


def soft_target_figures(runs: RunSet, images: ImageData | None) -> list[Figure]:
    """Return entropy and sharpness against T, and examples; nothing without a teacher's logits."""
    found = _teacher(runs)
    if found is None:
        return []
    run, values = found
    kept = values[evenly(len(values), _IMAGES)]
    who = f"Teacher, seed {run.record.seed}"
    examples = _examples(values, images)
    return [
        Figure(
            "soft-targets",
            "The teacher's soft targets against temperature",
            f"{who}, over {len(kept):,} training images: mean entropy of the softmax of its logits "
            "over T as a share of the largest possible (1: all classes alike), and mean largest "
            "probability (one over the number of classes: uniform). Dots: published temperatures.",
            _sharpness(kept),
            _sharpness_spec(),
        ),
        Figure(
            "soft-target-examples",
            "What a temperature does to one image's targets",
            f"{who}: training images, from the surest to the least sure at T = 1, and its "
            "probabilities for every class. The order of the wrong classes is what a student "
            "learns beyond the label.",
            examples,
            _examples_spec(pictured=any(row["picture"] for row in examples)),
        ),
    ]


def _teacher(runs: RunSet) -> tuple[Run, np.ndarray] | None:
    teachers = [run for run in runs.runs if run.done and run.record.is_teacher]
    students = [run for run in runs.runs if run.done and run.record.teacher_identity]
    for run in sorted(teachers + students, key=lambda run: run.record.seed):
        stored = teacher_logits(run)
        if stored is not None:
            return run, stored
    return None


def _sharpness(values: np.ndarray) -> list[Row]:
    rows: list[Row] = []
    for temperature in sorted({*np.geomspace(1, 200, 40).tolist(), *TEMPERATURES}):
        shares = softmax(values.astype(np.float64), temperature)
        entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1).mean()
        for name, value in (
            ("entropy / largest", entropy / np.log(shares.shape[1])),
            ("largest probability", shares.max(axis=1).mean()),
        ):
            published = "yes" if temperature in TEMPERATURES else "no"
            rows.append(
                {"measure": name, "T": temperature, "value": float(value), "published": published}
            )
    return rows


def _sharpness_spec() -> Spec:
    encoding = {
        "x": temperature_axis(),
        "y": channel("value", title=None),
        "color": channel("measure", "nominal", title=None),
        "tooltip": [{"field": "measure"}, {"field": "T"}, {"field": "value", "format": ".3f"}],
    }
    return {
        "width": 560,
        "height": 240,
        "encoding": encoding,
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 2.5}},
            {
                "transform": [where("published", "yes")],
                "mark": {"type": "point", "filled": True, "size": 70},
            },
        ],
    }


def _examples(values: np.ndarray, images: ImageData | None) -> list[Row]:
    """Choose images by how sure the teacher is, and give their probabilities at some T."""
    sample = sampled(images, "train", len(values))
    sure = softmax(values.astype(np.float64), 1).max(axis=1)
    order = np.argsort(-sure, kind="stable")
    chosen = [order[round(q * (len(order) - 1))] for q in np.linspace(0, 1, _EXAMPLES)]
    rows: list[Row] = []
    for number, index in enumerate(chosen, start=1):
        picture = "" if sample is None else _data_uri(sample.images[index])
        label = "" if sample is None else f", label {sample.labels[index]}"
        for temperature in _SHOWN:
            shares = softmax(values[index].astype(np.float64), temperature)
            rows += [
                {
                    "image": f"image {number}{label}",
                    "T": f"T = {temperature:g}",
                    "class": digit,
                    "probability": float(share),
                    # Only once per image, to keep the page small.
                    "picture": picture if temperature == _SHOWN[0] and digit == 0 else "",
                }
                for digit, share in enumerate(shares)
            ]
    return rows


def _data_uri(pixels: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _examples_spec(*, pictured: bool) -> Spec:
    shown = [f"T = {temperature:g}" for temperature in _SHOWN]
    bars = {
        "width": 110,
        "height": 76,
        "mark": "bar",
        "encoding": {
            "x": channel("class", "ordinal", axis={"labelAngle": 0}),
            "y": channel("probability", scale={"domain": [0, 1]}),
            "tooltip": [{"field": "class"}, {"field": "probability", "format": ".3f"}],
        },
    }
    picture = {
        "width": 76,
        "height": 76,
        "mark": {"type": "image", "width": 72, "height": 72},
        "encoding": {"url": {"field": "picture"}},
    }
    header = {"labelAngle": 0, "labelAlign": "left"}
    # The leftmost column names the image of each row.
    named = channel("image", "nominal", title=None, header=header)
    unnamed = channel("image", "nominal", title=None, header=None)
    pictures = {"transform": [{"filter": "datum.picture"}], "facet": {"row": named}}
    targets = {
        "facet": {
            "row": unnamed if pictured else named,
            "column": channel("T", "nominal", sort=shown, title=None),
        },
        "spec": bars,
    }
    return {"hconcat": [{**pictures, "spec": picture}, targets] if pictured else [targets]}
