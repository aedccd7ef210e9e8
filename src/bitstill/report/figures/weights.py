"""A student's real weights at each step of quantization, layer by layer."""

from itertools import pairwise

from bitstill.reading import reading
from bitstill.report.figures.figure import Figure, Row, Spec, channel, where
from bitstill.report.published import HARD_TEMPERATURE
from bitstill.report.sweeps import HARD, Run, RunSet
from bitstill.runs.identity import TEACHER, cell_name

_BINS = 48
_STEPS = {
    "raw": "1 raw",
    "squashed": "2 tanh",
    "scaled": "3 scaled",
    "rounded": "4 rounded",
    "stretched": "5 stretched",
}
_FIRST_LAYER = "conv22"


def weight_figures(runs: RunSet) -> list[Figure]:
    """Return the steps and the shares of levels of one student, or nothing without its weights."""
    student = _student(runs)
    if student is None:
        return []
    steps, shares = _measure(student)
    who = f"Student {student.record.cell}, seed {student.record.seed}, after the last epoch"
    quantizer = student.record.config["quantizer"]["method"]
    return [
        Figure(
            "weight-steps",
            "Quantizing a layer's weights, step by step",
            f"{who}: histogram of one layer's weights after each step of the {quantizer} "
            "quantizer, from the trained number to the level that the convolution uses.",
            steps,
            _steps_spec(steps),
        ),
        Figure(
            "weight-levels",
            "Levels of the quantized weights, layer by layer",
            f"{who}: the share of a layer's weights on each level, as a multiple of the layer's "
            "largest level; the tooltip gives the level itself.",
            shares,
            _shares_spec(shares),
        ),
    ]


def _student(runs: RunSet) -> Run | None:
    preferred = [cell_name("soft_hard", HARD_TEMPERATURE), HARD, *runs.cells]
    for cell in preferred:
        for run in runs.done(cell) if cell != TEACHER else []:
            bits = run.record.config["quantizer"]["weight_bits"]
            if run.paths.weights.exists() and bits is not None:
                return run
    return None


def _measure(student: Run) -> tuple[list[Row], list[Row]]:
    import numpy as np
    from safetensors.torch import load_file

    from bitstill.deploy.finished import AGAIN
    from bitstill.quantizers import WEIGHT_STEPS

    quantizer = student.record.config["quantizer"]
    steps: list[Row] = []
    shares: list[Row] = []
    with reading(student.paths.weights, AGAIN):
        tensors = load_file(student.paths.weights)
    for name, weight in tensors.items():
        if not name.endswith("conv.weight"):
            continue
        layer = name.split(".")[1]
        taken = WEIGHT_STEPS[quantizer["method"]](weight, bits=quantizer["weight_bits"])
        for step, label in _STEPS.items():
            counts, edges = np.histogram(getattr(taken, step).numpy(), bins=_BINS)
            steps += [
                {"layer": layer, "step": label, "low": low, "high": high, "weights": int(count)}
                for count, (low, high) in zip(counts, pairwise(edges.tolist()), strict=True)
                if count
            ]
        levels, numbers = np.unique(taken.stretched.numpy(), return_counts=True)
        largest = np.abs(levels).max() or 1.0
        ends = np.cumsum(numbers / numbers.sum())
        shares += [
            {
                "layer": layer,
                "level": f"{level / largest:.3g}",
                "value": float(level),
                "share": float(number / numbers.sum()),
                "end": float(end),
            }
            for level, number, end in zip(levels, numbers, ends, strict=True)
        ]
    return sorted(steps, key=lambda row: str(row["layer"])), shares


def _steps_spec(rows: list[Row]) -> Spec:
    layers = list(dict.fromkeys(str(row["layer"]) for row in rows))
    first = _FIRST_LAYER if _FIRST_LAYER in layers else layers[0]
    bind = {"input": "select", "name": "Layer ", "options": layers}

    def panel(number: int, label: str) -> Spec:
        return {
            "title": label,
            "width": 118,
            "height": 150,
            "transform": [where("step", label)],
            "mark": {"type": "bar", "binSpacing": 0},
            "encoding": {
                "x": channel("low", bin="binned", title=None),
                "x2": {"field": "high"},
                "y": channel("weights", title=None if number else "weights"),
                "tooltip": [{"field": name} for name in ("low", "high", "weights")],
            },
        }

    return {
        "params": [{"name": "layer", "value": first, "bind": bind}],
        "transform": [{"filter": "datum.layer == layer"}],
        "hconcat": [panel(number, label) for number, label in enumerate(_STEPS.values())],
    }


def _shares_spec(rows: list[Row]) -> Spec:
    levels = {"scheme": "viridis", "domain": sorted({str(r["level"]) for r in rows}, key=float)}
    x = channel(
        "start", title="share of the weights", axis={"format": "%"}, scale={"domain": [0, 1]}
    )
    return {
        "width": 560,
        "height": {"step": 26},
        "transform": [{"calculate": "datum.end - datum.share", "as": "start"}],
        "mark": "bar",
        "encoding": {
            "y": channel("layer", "nominal", title=None),
            "x": x,
            "x2": {"field": "end"},
            "color": channel("level", "ordinal", title="level / largest", scale=levels),
            "tooltip": [
                {"field": "layer"},
                {"field": "value", "title": "level", "format": ".4f"},
                {"field": "share", "format": ".1%"},
            ],
        },
    }
