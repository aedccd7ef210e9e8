"""Paired timings: what is compared is timed in the same rounds of the same process.

Every round times each subject once, one right after the other, so that whatever slows the machine
slows them all. The speedup is computed within each round, and reported as the median over the
rounds, with quartiles.
"""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitstill.bar import bar

Quartiles = tuple[float, float, float]
Subject = Callable[[], float]  # works once, and returns the seconds that this took


def processor() -> str:
    """Return the processor's name, as in lscpu."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@dataclass(frozen=True)
class Timing:
    """The times of one subject.

    Attributes:
        subject: its name.
        settings: the conditions of the timing, such as threads and batch.
        seconds: quartiles of its time.
        speedup: quartiles of its speedup over the yardstick within a round.
    """

    subject: str
    settings: dict[str, int]
    seconds: Quartiles
    speedup: Quartiles


@dataclass(frozen=True)
class Report:
    """What was measured, and where.

    Attributes:
        unit: unit of times in the table, such as ``us an image``.
        scale: how many of these units a second has.
        rounds: how often each subject was timed.
        timings: the table.
        versions: versions of Python and of the packages that compute.
        facts: other findings, by name.
        machine: the processor.
    """

    unit: str
    scale: float
    rounds: int
    timings: list[Timing]
    versions: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    machine: str = field(default_factory=processor)


def paired(
    subjects: Mapping[str, Subject],
    *,
    yardstick: str,
    rounds: int,
    settings: Mapping[str, int],
    warm_up: int = 1,
) -> list[Timing]:
    """Time all subjects, round after round.

    Args:
        subjects: what is timed, by name.
        yardstick: name of the subject that the others are compared with.
        rounds: number of rounds that count.
        settings: the conditions of the timings, for the table.
        warm_up: number of rounds before those that count.
    """
    seconds = {name: np.empty(rounds) for name in subjects}
    with bar((warm_up + rounds) * len(subjects), "measuring", "timings") as shown:
        for number in range(-warm_up, rounds):
            for name, subject in subjects.items():
                taken = subject()
                if number >= 0:
                    seconds[name][number] = taken
                shown.update()
    return [
        Timing(name, dict(settings), quartiles(taken), quartiles(seconds[yardstick] / taken))
        for name, taken in seconds.items()
    ]


def quartiles(values: NDArray[np.float64]) -> Quartiles:
    """Return lower quartile, median and upper quartile."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(low), float(middle), float(high)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of packages, Python's first."""

    def known(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:  # installed under another name, such as onnxruntime-gpu
            return "unknown"

    return {"python": platform.python_version()} | {name: known(name) for name in packages}


def as_json(report: Report) -> str:
    """Return the report as JSON, with times in seconds."""
    return json.dumps(asdict(report), indent=2)


def as_table(report: Report) -> str:
    """Return the table in Markdown, in the form that the documentation has."""
    keys = list(dict.fromkeys(key for one in report.timings for key in one.settings))
    header = [*keys, "what", report.unit, "speedup"]
    lines = [
        f"{report.machine}; " + ", ".join(f"{key} {text}" for key, text in report.versions.items()),
        *(f"{name}: {fact}" for name, fact in report.facts.items()),
        f"medians of {report.rounds} paired rounds, quartiles in brackets",
        "",
        _row(header),
        _row(["---"] * len(header)),
    ]
    for one in report.timings:
        low, middle, high = (report.scale * seconds for seconds in one.seconds)
        slow, ratio, fast = one.speedup
        times = f"{middle:.1f} [{low:.1f}, {high:.1f}]"
        ratios = f"{ratio:.2f} [{slow:.2f}, {fast:.2f}]"
        lines.append(_row([*(str(one.settings[key]) for key in keys), one.subject, times, ratios]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
