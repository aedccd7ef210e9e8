"""The confusion matrix: which classes are mistaken for which."""

import numpy as np
from numpy.typing import NDArray

from bitstill.report.figures.figure import Figure, Row, Spec, channel

MOST_CLASSES = 200  # with more, squares are under 6 points wide, and too many for the memory
_READABLE, _WIDTH = 30, 1200  # most classes with written numbers; points
_LIGHT_TEXT = 0.5  # above this share of a row, white is easier to read than black


def confusion_figure(labels: NDArray[np.int64], predicted: NDArray[np.int64], who: str) -> Figure:
    """Return the confusion matrix of a test set: counts, shaded by their share of a true class.

    Args:
        labels: the true classes.
        predicted: of the same images.
        who: the network, for the caption.
    """
    classes = int(max(labels.max(), predicted.max())) + 1
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows: list[Row] = [
        {
            "true": true,
            "predicted": column,
            "images": int(counts[true, column]),
            "share": float(shares[true, column]),
        }
        for true in range(classes)
        for column in range(classes)
    ]
    caption = f"{who}: test images of a class (row) that were taken for a class (column)."
    return Figure("confusion", "Confusion on the test images", caption, rows, _spec(classes))


def _spec(classes: int) -> Spec:
    axis: Spec = {"labelAngle": 0, "labelOverlap": True}
    axes = {
        "x": channel("predicted", "ordinal", axis={"orient": "top", **axis}),
        "y": channel("true", "ordinal", axis=axis),
    }
    shade = channel("share", scale={"scheme": "blues"}, legend=None)
    text = {
        "text": channel("images"),
        "color": {
            "condition": {"test": f"datum.share > {_LIGHT_TEXT}", "value": "white"},
            "value": "black",
        },
    }
    layers: list[Spec] = [{"mark": "rect", "encoding": {"color": shade}}]
    if classes <= _READABLE:
        layers.append({"mark": {"type": "text"}, "encoding": text})
    return {
        "width": {"step": min(36, _WIDTH / classes)},
        "height": {"step": min(28, _WIDTH / classes)},
        "encoding": axes,
        "layer": layers,
    }
