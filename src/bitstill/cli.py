"""The command line."""

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bitstill import __version__

if TYPE_CHECKING:
    from bitstill.bench.paired import Report

app = typer.Typer(
    name="bitstill",
    help="Distil a full-precision CNN into one with 2-bit weights and 1-bit features.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


bench_app = typer.Typer(help="Measure how fast it is, on this machine.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bitstill {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options in front of a command."""
    Path.cwd()  # where it is not there any more, MKL would end the process, and say something else


def _complete_overrides(context: typer.Context, incomplete: str) -> list[str]:
    from bitstill.configuration.completion import complete

    with contextlib.suppress(Exception):  # an error would be printed into the line
        return complete(list(context.params.get("overrides") or []), incomplete)
    return []


_Overrides = Annotated[list[str] | None, typer.Argument(autocompletion=_complete_overrides)]
_Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


@app.command(
    context_settings={"ignore_unknown_options": True},  # they are Hydra's
    add_help_option=False,
)
def train(overrides: _Overrides = None) -> None:
    """Train a teacher, a student, or with -m a sweep."""
    from bitstill.application import train as run_application

    raise typer.Exit(run_application(overrides or []))


@app.command(context_settings={"ignore_unknown_options": True})
def plan(overrides: _Overrides = None) -> None:
    """Show what a sweep would do, and what it would cost.

    Takes what `train -m` takes.
    """
    from bitstill.application import train as run_application

    arguments = ["--multirun", *(overrides or []), "hydra.sweeper.plan_only=true"]
    raise typer.Exit(run_application(arguments))


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="Of a sweep, as multirun/quick.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Until all runs have ended, or Ctrl-C.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Show how far a sweep is, whatever runs it."""
    from bitstill.sweep.console import show_status

    show_status(folder, watch=watch, as_json=as_json)


@app.command()
def report(
    sweeps: Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders of sweeps.")],
    output: Annotated[
        Path | None, typer.Option(help="Where files go.", show_default="report/ in the first DIR")
    ] = None,
    fill: Annotated[
        Path | None,
        typer.Option(metavar="PAGE", help="Fill the places of this Markdown page of yours, too."),
    ] = None,
) -> None:
    """Say what sweeps showed, in tables, figures and on a page.

    Whether published claims hold among it, with statistics.
    """
    from bitstill.report.command import run_report

    run_report(sweeps, output, fill)


@app.command()
def keep(
    sweep: Annotated[Path, typer.Argument(help="Folder of a sweep, finished or not.")],
    target: Annotated[Path, typer.Argument(help="Folder to copy to; again to go on.")],
) -> None:
    """Copy what a repository should hold of a sweep.

    Records, curves, each image's result, teachers' logits, one packed student.
    """
    from bitstill.errors import counted
    from bitstill.report.keep import keep as copy

    kept = copy(sweep, target)
    typer.echo(f"{target}: {counted(kept.runs, 'finished run')} kept")
    if kept.absent:
        teachers = counted(kept.absent, "teacher")
        typer.echo(f"not at hand, and not kept: the logits of {teachers} that they have read")


@app.command()
def dashboard(
    place: Annotated[
        str, typer.Argument(metavar="DIR|PROJECT", help="A sweep's folder, or [ENTITY/]PROJECT.")
    ],
    save: Annotated[
        bool, typer.Option("--save", help="Save them to wandb's server, too; else no network.")
    ] = False,
    project: Annotated[
        str | None,
        typer.Option(help="[ENTITY/]PROJECT.", show_default="the one that the runs name"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where files go.", show_default="dashboard/ in DIR")
    ] = None,
) -> None:
    """Make a report and a workspace for wandb, as JSON."""
    from bitstill.dashboards.command import make_dashboard

    typer.echo(make_dashboard(place, project=project, output=output, save=save))


@app.command()
def sync(
    folder: Annotated[Path, typer.Argument(help="Of a sweep, as multirun/quick.")],
) -> None:
    """Send to wandb what the runs of a sweep logged offline.

    Give it again to go on.
    """
    from bitstill.loggers.sync import sync as send

    typer.echo(send(folder))


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A run's folder, or a sweep's; or a packed file.")],
    form: Annotated[
        str, typer.Option("--format", help="packed, c, onnx or qonnx; of a teacher, onnx.")
    ] = "packed",
    select: Annotated[str, typer.Option(help="last or best_val.")] = "last",
    statistics: Annotated[
        str | None, typer.Option(help="precise or running; precise where they were measured.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The file to write.")] = None,
) -> None:
    """Write a finished run's network for other programs to run."""
    from bitstill.deploy.export import export as write
    from bitstill.deploy.finished import Choice

    file = write(source, form, Choice(select, statistics), output)
    typer.echo(f"{file}: {file.stat().st_size} bytes")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A packed student.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    as_json: _Json = False,
    threads: Annotated[int, typer.Option(min=1, help="For many images.")] = 1,
) -> None:
    """Say what images show.

    Class and confidence, which is the softmax at T = 1, and no probability.
    """
    from bitstill.deploy import predict as deployed
    from bitstill.errors import counted, printable

    predictions = deployed.predict(model, images, threads=threads)
    write = deployed.as_json if as_json else deployed.as_table
    typer.echo(write(predictions.known))
    if predictions.others:
        files = counted(predictions.others, "file")
        typer.echo(f"bitstill: {files} without an image's extension passed over", err=True)
    if predictions.unread:
        for line in predictions.unread:
            typer.echo(f"bitstill: {printable(line)}; passed over", err=True)
        raise typer.Exit(1)


def _show(report: "Report", *, as_json: bool) -> None:
    from bitstill.bench import paired

    typer.echo(paired.as_json(report) if as_json else paired.as_table(report))


@bench_app.command("deploy")
def bench_deploy(
    as_json: _Json = False,
    rounds: Annotated[int, typer.Option(min=3, help="How often each is timed.")] = 30,
) -> None:
    """Time the deployed student against onnxruntime: one thread and two, one image and many."""
    from bitstill.bench.deploy import bench

    _show(bench(rounds=rounds), as_json=as_json)


@bench_app.command("train")
def bench_train(
    as_json: _Json = False,
    rounds: Annotated[int, typer.Option(min=3, help="How often each is timed.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 256,
    threads: Annotated[int, typer.Option(min=1, help="For all that is compared.")] = 1,
) -> None:
    """Time steps of training against plain code, and against the convolutions alone."""
    from bitstill.bench.train import bench

    _show(bench(rounds=rounds, batch_size=batch_size, threads=threads), as_json=as_json)


@bench_app.command("sweep")
def bench_sweep(
    as_json: _Json = False,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is timed.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Of each of the 14 runs.")] = 4,
) -> None:
    """Time the demo, shortened, against plain code that trains the same runs in turn."""
    from bitstill.bench.sweep import bench

    _show(bench(rounds=rounds, epochs=epochs), as_json=as_json)


def main() -> None:
    """Run the command line; what a user can mend is one line and exit code 2."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed where this was started
            setattr(sys, stream, Path(os.devnull).open("w"))  # noqa: SIM115  # to the end
    # A name that the terminal's encoding does not know must not cost what was computed.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        from bitstill.explanations import FULL_ERROR, print_error

        if os.environ.get(FULL_ERROR) == "1":  # for developers
            raise
        raise SystemExit(print_error(error)) from error
