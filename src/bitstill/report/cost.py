"""The cost of runs: hours, and images per second."""

from collections.abc import Iterable, Sequence
from statistics import median

from bitstill.report.sweeps import Run, RunSet
from bitstill.report.table import NOT_APPLICABLE, Table

_OFFICIAL = 73_257  # training images of SVHN
_STUDY = {"teacher": 5, "student": 70}  # the runs of experiment=study
_YET = "no finished run yet"


def cost_table(runs: RunSet) -> Table:
    """Return the hours of all finished runs, with teachers and students apart."""
    rows = [
        [label, str(len(of_kind)), *_hours(of_kind), f"{_speed(of_kind):.0f}"]
        for label, of_kind in _kinds(runs.runs).items()
    ]
    total = [run for of_kind in _kinds(runs.runs).values() for run in of_kind]
    if total:
        rows.append(["all", str(len(total)), *_hours(total), NOT_APPLICABLE])
    devices = ", ".join(dict.fromkeys(run.record.device for run in total))
    caption = (
        "Hours of one process, training and every epoch's evaluation together, from the records. "
        f"images a second: training images per second of that time, the median. Device: {devices}."
    )
    header = ("model", "runs", "hours", "hours a run", "images a second")
    return Table("cost", "What the finished runs took", caption, header, rows)


def official_table(runs: RunSet) -> Table:
    """Return what the study would take on the official SVHN, at the speed of finished runs."""
    rows, hours = [], []
    for kind, count in _STUDY.items():
        one = _official_hours(_kinds(runs.runs).get(kind, []))
        hours.append(one)
        both = [_YET] * 2 if one is None else [f"{one:.1f}", f"{count * one:.0f}"]
        rows.append([kind, str(count), *both])
    known = [count * one for count, one in zip(_STUDY.values(), hours, strict=True) if one]
    whole = f"{sum(known):.0f}" if len(known) == len(_STUDY) else _YET
    rows.append(["all", str(sum(_STUDY.values())), NOT_APPLICABLE, whole])
    caption = (
        "Estimated from the finished runs' images per second and the number of official training "
        "images, in hours of one process. The test set is larger in about the same proportion."
    )
    header = ("model", "runs", "hours a run", "hours")
    return Table("official", "The study on the official split", caption, header, rows)


def _official_hours(runs: Sequence[Run]) -> float | None:
    """Return the hours of a run on the official split; None if no speed is known."""
    if not runs or not _speed(runs):
        return None
    record = runs[0].record
    share = 1 - (record.config["data"].get("val_fraction") or 0.0)
    return float(_OFFICIAL * share * record.epochs / _speed(runs) / 3600)


def _speed(runs: Iterable[Run]) -> float:
    """Return the median number of training images per second."""
    return median(run.record.images_per_second for run in runs)


def _kinds(runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.done:
            found.setdefault(run.record.model, []).append(run)
    return found


def _hours(runs: Sequence[Run]) -> tuple[str, str]:
    hours = sum(run.record.seconds for run in runs) / 3600
    return f"{hours:.1f}", f"{hours / len(runs):.2f}"
