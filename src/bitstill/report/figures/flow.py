"""The distillation flow, a drawing."""

from importlib.resources import files

from bitstill.report.figures.figure import Figure


def flow_figure() -> Figure:
    """Return the drawing of teacher, student and losses."""
    drawing = files("bitstill.report").joinpath("templates/flow.svg").read_text(encoding="utf-8")
    caption = (
        "The teacher is trained first and never changes. soft uses the upper term alone; soft_hard "
        "adds the lower one; gt_soft_hard puts the labels in the place of the teacher's soft "
        "targets; hard compares softmax(z / T) with the labels. v, z: logits; c: the soft weight."
    )
    return Figure("flow", "The distillation flow", caption, drawing=drawing)
