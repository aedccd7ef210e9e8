"""One self-contained page: semantic tables, charts that the page draws itself, no network."""

import functools
import json
from importlib.resources import files
from typing import Any, get_args

from bitstill import __version__
from bitstill.report.claim_tables import NO_VERDICT
from bitstill.report.content import Report, SetReport
from bitstill.report.figures.figure import theme, with_data
from bitstill.report.overview import overview_table, summary
from bitstill.report.sweeps import Run
from bitstill.report.tables import CAPTION, DETAILS
from bitstill.statistics import Verdict

_VERDICTS = (*get_args(Verdict), NO_VERDICT)
# Texts that stand for a missing number, in any table.
_ABSENT = (
    *("missing", "failed", "interrupted", "unfinished", "not measured", "too few epochs"),
    *("no curves", "too few runs", "none seen", "no seed in both"),
)
# A section: its id, title, and how the names of its tables and figures begin.
_SECTIONS = (
    ("claims", "Published claims", ("claims", "tests", "robustness"), ("claims",)),
    (
        "tables",
        "Tables 1 to 4",
        ("temperatures", "baseline", "table", "sizes"),
        ("accuracy", "size"),
    ),
    ("noise", "Learning curves and noise", ("noise",), ("curves",)),
    ("distillation", "Distillation", (), ("flow", "soft-target", "gradients", "calibration")),
    ("quantization", "Quantization", (), ("weight",)),
    ("seeds", "Every seed", ("seeds", "cost"), ()),
)


def render(report: Report) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bitstill.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    prefixes = [f"set{number}" for number in range(1, len(report.sets) + 1)]
    charts = {
        f"{prefix}-{figure.name}": with_data(figure)
        for prefix, one in zip(prefixes, report.sets, strict=True)
        for figure in one.figures
        if figure.spec is not None
    }
    themes = {"light": theme(dark=False), "dark": theme(dark=True)}
    return environment.get_template("page.html.j2").render(
        css=_template("page.css"),
        several=len(report.sets) > 1,
        sets=[_set(prefix, one) for prefix, one in zip(prefixes, report.sets, strict=True)],
        comparisons=report.comparison_tables,
        not_compared=report.not_compared,
        overview=overview_table(report.sets),
        details=DETAILS,
        verdicts=_VERDICTS,
        absent=_ABSENT,
        command=report.command,
        version=__version__,
        specs=_in_script(json.dumps({"charts": charts, "themes": themes}, allow_nan=False)),
        bundle=_bundle(),
        javascript=_template("page.js"),
    )


def _set(prefix: str, one: SetReport) -> dict[str, Any]:
    ran_on = {run.paths: _environment(run) for run in one.runs.runs}
    environments = list(dict.fromkeys(ran_on.values()))
    return {
        "id": prefix,
        "name": one.runs.name,
        "summary": summary(one),
        "facts": _facts(one),
        "far_out": one.far_out,
        "left_out": one.left_out_text,
        "sections": [
            section
            for row in _SECTIONS
            if (section := _section(one, *row))["tables"] or section["figures"]
        ],
        "folder": one.runs.folder,
        "environments": environments,
        "runs": one.runs.runs,
        "environment_of": {paths: environments.index(its) + 1 for paths, its in ran_on.items()},
    }


def _section(
    one: SetReport, name: str, title: str, tables: tuple[str, ...], figures: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "id": name,
        "title": title,
        "text": {"tables": CAPTION, "claims": _claims_text(one)}.get(name, ""),
        "tables": [table for table in one.tables if table.name.startswith(tables)],
        "figures": [figure for figure in one.figures if figure.name.startswith(figures)],
        "lead": 1 if name in ("claims", "tables") else 0,
    }


def _claims_text(one: SetReport) -> str:
    return (
        f"Verdicts rest on one accuracy, chosen beforehand: {one.view.label} batch norm "
        "statistics. Reproduced: the claim is shown at the 5 % level, corrected for the "
        "statements under its letter. Contradicted: its opposite is, or, of a claim of one effect, "
        "that it is practically nothing. Undecided: these runs cannot tell; detectable says what "
        "they could have told."
    )


def _facts(one: SetReport) -> list[tuple[str, str]]:
    runs = one.runs.runs
    # Not simply the first run: that may be a teacher with a schedule of its own.
    first = (one.runs.students or runs)[0].record
    seconds = sum(run.record.seconds for run in runs)
    schedule = first.config["schedule"]
    return [
        ("runs finished", one.finished),
        ("seeds", ", ".join(map(str, one.runs.seeds))),
        ("data", f"{first.config['data']['source']} {first.data_identity[:10]}"),
        ("schedule", f"{schedule['epochs']} epochs of batches of {schedule['batch_size']}"),
        ("device", ", ".join(dict.fromkeys(run.record.device for run in runs))),
        ("training time", f"{_duration(seconds)} in all"),
    ]


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _environment(run: Run) -> str:
    """Return the environment of a run in one line; most runs of a sweep share it."""
    record = run.record
    parts = [record.device, *(f"{name} {number}" for name, number in record.versions.items())]
    if record.git_commit:
        commit, dash, dirty = record.git_commit.partition("-")
        parts.append(f"commit {commit[:10]}{dash}{dirty}")
    return ", ".join(parts)


def _template(name: str) -> str:
    return files("bitstill.report").joinpath("templates", name).read_text(encoding="utf-8")


def _in_script(text: str) -> str:
    """Return JSON that cannot end the script element around it."""
    return text.replace("<", "\\u003c")


@functools.cache
def _bundle() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script."""
    import vl_convert

    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # the stub lacks the default
    return str(bundle).replace("</script", "<\\/script")
