"""``report.json`` and ``runs.csv``: every number of a report, for programs."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bitstill import __version__
from bitstill.report.baseline import against_baseline, baseline_of
from bitstill.report.content import Report, SetReport
from bitstill.report.far_out import far_out
from bitstill.report.findings import Finding
from bitstill.report.noise import epoch_noise
from bitstill.report.paired import CellComparison
from bitstill.report.settings import rules, settings, teacher_settings
from bitstill.report.sweeps import VIEWS, RunSet, View
from bitstill.runs import RunRecord
from bitstill.statistics import Interval, mean_interval

FORMAT = 1
"""Raised when report.json changes its shape."""


def to_plain(report: Report) -> dict[str, Any]:
    """Return everything as plain values; accuracies in percent, None where there is no value."""
    plain: dict[str, Any] = _plain(
        {
            "format": FORMAT,
            "bitstill": __version__,
            "command": report.command,
            "sets": [_set(one) for one in report.sets],
            "comparisons": [
                {**dataclasses.asdict(table), "view": str(one.view), "cells": _cells(one.cells)}
                for table, one in zip(report.comparison_tables, report.comparisons, strict=True)
            ],
        }
    )
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Interval):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _set(one: SetReport) -> dict[str, Any]:
    runs = one.runs
    return {
        "name": runs.name,
        "folder": str(runs.folder),
        "settings": dict(runs.settings),
        "seeds": runs.seeds,
        "asked": one.asked,
        "verdicts_rest_on": str(one.view),
        "cells": {cell: _cell(runs, cell, one.view) for cell in runs.cells},
        "claims": {
            str(view): [_finding(found) for found in answers]
            for view, answers in one.by_view.items()
        },
        "baseline": baseline_of(runs),
        "against_baseline": _cells(against_baseline(runs, one.view)),
        "sizes_bytes": {name: dict(sizes) for name, sizes in one.sizes.items()},
        "gradient_ratios": [
            {**dataclasses.asdict(ratio), "slope": ratio.slope} for ratio in one.ratios
        ],
        "far_out": [str(run.paths.directory) for run in far_out(runs, one.view)],
        "left_out": one.left_out,
        "tables": [dataclasses.asdict(table) for table in one.tables],
        "runs": [
            {
                "directory": str(run.paths.directory),
                "identity": run.record.identity,
                "cell": run.record.cell,
                "seed": run.record.seed,
                "status": run.record.status,
                "seconds": run.record.seconds,
                "accuracies": {str(view): run.percent(view) for view in VIEWS},
                "command": run.command,
            }
            for run in runs.runs
        ],
    }


def run_rows(report: Report) -> list[dict[str, Any]]:
    """Return a row for each run of each set: settings, status, accuracies in percent.

    Each setting that tells the sets apart gets a column, which is empty for runs without it.
    """
    differing = _differing([one.runs.settings for one in report.sets])
    return [
        {
            "set": _no_formula(one.runs.name),
            "folder": _no_formula(run.paths.directory.name),
            "identity": _no_formula(run.record.identity),
            "model": run.record.model,
            "loss": "" if run.record.is_teacher else run.record.loss,
            "temperature": run.record.temperature,
            "seed": run.record.seed,
            **_told_apart_by(run.record, one.runs, differing),
            "status": run.record.status,
            "epochs": run.record.epoch,
            "seconds": run.record.seconds,
            **{f"test accuracy, {view.label}": run.percent(view) for view in VIEWS},
        }
        for one in report.sets
        for run in one.runs.runs
    ]


def _no_formula(text: str) -> str:
    """Return a text that a spreadsheet does not evaluate: a sweep may come from others."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _differing(sets: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the settings, except the model, that are not the same in all sets."""
    names = dict.fromkeys(name for one in sets for name in one if name != "model")
    return [name for name in names if len({one.get(name) for one in sets}) > 1]


def _told_apart_by(record: RunRecord, runs: RunSet, names: Sequence[str]) -> dict[str, str]:
    """Return a run's values of these settings or rules; empty texts for those that it lacks."""
    followed = {name: runs.settings.get(name, "") for name in rules(record)}
    known = settings(record) | teacher_settings(record) | followed
    return {_no_formula(name): _no_formula(known.get(name, "")) for name in names}


def _cells(compared: Sequence[CellComparison]) -> list[dict[str, Any]]:
    return [
        dataclasses.asdict(one) | {"difference": one.difference and one.difference.interval()}
        for one in compared
    ]


def _cell(runs: RunSet, cell: str, view: View) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in VIEWS:
        values = runs.percents(cell, one)
        if values:
            mean, low, high = mean_interval(list(values.values()))
            found[str(one)] = {"mean": mean, "low": low, "high": high, "by_seed": values}
    noise = epoch_noise(runs.done(cell), view.statistics)
    return {
        "accuracies": found,
        "epoch_noise": None if noise is None else dataclasses.asdict(noise),
        "unfinished": {run.record.seed: run.record.status for run in runs.of(cell) if not run.done},
    }


def _finding(finding: Finding) -> dict[str, Any]:
    question = finding.question
    return {
        "claim": question.claim,
        "name": question.name,
        "test": question.test,
        "unit": question.unit,
        "published": question.published,
        "effect": finding.effect,
        "over_images": question.images,
        "one_seed": question.one_seed,
        "seeds": finding.n,
        "p": finding.p,
        "equivalence_p": finding.equivalence_p,
        "p_by_seed": question.check_p,
        "detectable": finding.detectable,
        "verdict": finding.verdict,
        "reason": finding.reason,
        "awaited": finding.awaited,
        "comparisons": [
            {
                "name": one.name,
                **dataclasses.asdict(one.difference),
                # Left out while runs are awaited, as it would depend on when one looks.
                "p": None if finding.awaited or not one.difference.df else one.difference.p,
                "mcnemar_p": {} if finding.awaited else one.mcnemar,
            }
            for one in question.comparisons
        ],
    }
