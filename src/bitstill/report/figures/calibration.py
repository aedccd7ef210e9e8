"""Calibration: whether a network is as accurate as it is confident."""

import numpy as np

from bitstill.data import ImageData
from bitstill.report.figures.figure import Figure, Row, Spec, channel, legend_filter
from bitstill.report.outputs import logits, sampled, softmax
from bitstill.report.published import HARD_TEMPERATURE
from bitstill.report.sweeps import LOSSES, RunSet
from bitstill.runs.identity import TEACHER, cell_name

_IMAGES = 1024
_BINS = 10


def calibration_figures(runs: RunSet, images: ImageData | None) -> list[Figure]:
    """Return the reliability diagram of the teacher and one student per loss, first seed."""
    sample = sampled(images, "test", _IMAGES)
    if sample is None:
        return []
    rows: list[Row] = []
    errors = []
    cells = [*(cell_name(loss, HARD_TEMPERATURE) for loss in runs.losses), TEACHER]
    for run in (runs.done(cell)[0] for cell in cells if runs.done(cell)):
        values = logits(run, sample.images)
        if values is not None:
            shares = softmax(values, 1)
            right = shares.argmax(axis=1) == sample.labels
            found, error = _reliability(run.record.cell, shares.max(axis=1), right)
            rows += found
            errors.append(f"{run.record.cell} {error:.3f}")
    if not rows:
        return []
    caption = (
        f"Accuracy against the largest probability of the softmax (T = 1), in {_BINS} bins, over "
        f"{len(sample.labels):,} test images; one run each, after the last epoch, with exact batch "
        "norm statistics where it has them. On the dashed "
        "diagonal a network is as accurate as it is confident; below it, overconfident. A dot's "
        "size is its share of the images. Networks trained with softmax(z / T) alone, as with "
        "`hard`, are overconfident here because T = 1. Expected calibration error: "
        + ", ".join(errors)
        + "."
    )
    return [Figure("calibration", "Calibration", caption, rows, _spec(cells, rows))]


def _reliability(name: str, sure: np.ndarray, right: np.ndarray) -> tuple[list[Row], float]:
    """Return one row per bin, and the expected calibration error (Guo et al. 2017, eq. 3)."""
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    rows: list[Row] = []
    error = 0.0
    for one in np.unique(bins):
        inside = bins == one
        confidence, accuracy = float(sure[inside].mean()), float(right[inside].mean())
        share = float(inside.mean())
        error += share * abs(accuracy - confidence)
        rows.append(
            {"network": name, "confidence": confidence, "accuracy": accuracy, "share": share}
        )
    return rows, error


def _spec(cells: list[str], rows: list[Row]) -> Spec:
    shown = {str(row["network"]) for row in rows}
    published = [cell_name(loss, HARD_TEMPERATURE) for loss in LOSSES]
    domain = list(dict.fromkeys([*published, TEACHER, *cells]))  # a network keeps its colour
    unit = {"domain": [0, 1]}
    legend = {"values": [cell for cell in cells if cell in shown]}
    place = {
        "x": channel("confidence", title="largest probability", scale=unit),
        "y": channel("accuracy", scale=unit),
    }
    color = channel("network", "nominal", scale={"domain": domain}, legend=legend)
    size = channel("share", legend=None, scale={"range": [20, 300]})
    filters = [{"filter": {"param": "network"}}]
    return {
        "width": 380,
        "height": 320,
        "layer": [
            {
                "data": {"values": [{"confidence": end, "accuracy": end} for end in (0, 1)]},
                "mark": {"type": "line", "strokeDash": [5, 4], "color": "#8a8f98"},
                "encoding": place,
            },
            {
                "transform": filters,
                "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.5},
                "encoding": {**place, "color": color},
                "params": [legend_filter("network", "network")],
            },
            {
                "transform": filters,
                "mark": {"type": "point", "filled": True},
                "encoding": {**place, "color": color, "size": size},
            },
        ],
    }
