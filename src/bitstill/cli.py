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


bench_app = typer.Typer(help="Measure bitstill's speed on this machine.", no_args_is_help=True)
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
    # Fail here if the current folder has been removed: MKL would end the process, with a message
    # about something else.
    Path.cwd()


def _complete_overrides(context: typer.Context, incomplete: str) -> list[str]:
    from bitstill.configuration.completion import complete

    with contextlib.suppress(Exception):  # the shell would show an error in the command line
        return complete(list(context.params.get("overrides") or []), incomplete)
    return []


_Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        autocompletion=_complete_overrides, help="Settings and choices, such as loss=soft,hard."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command(
    context_settings={"ignore_unknown_options": True},  # options are passed on to Hydra
    add_help_option=False,
)
def train(overrides: _Overrides = None) -> None:
    """Train a teacher, a student, or with -m a sweep."""
    from bitstill.application import train as run_application

    raise typer.Exit(run_application(overrides or []))


@app.command(context_settings={"ignore_unknown_options": True})
def plan(overrides: _Overrides = None) -> None:
    """Show which runs a sweep would do, and what they would cost.

    Takes the arguments of `train -m`, and runs nothing.
    """
    from bitstill.application import train as run_application

    arguments = ["--multirun", *(overrides or []), "hydra.sweeper.plan_only=true"]
    raise typer.Exit(run_application(arguments))


_SweepFolder = Annotated[
    Path, typer.Argument(help="The folder of a sweep, such as multirun/quick.")
]


@app.command()
def status(
    folder: _SweepFolder,
    watch: Annotated[
        bool, typer.Option("--watch", help="Update until all runs have ended, or Ctrl-C.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Show the state of each run of a sweep, under any launcher."""
    from bitstill.sweep.console import show_status

    show_status(folder, watch=watch, as_json=as_json)


@app.command()
def report(
    sweeps: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="The folders of one or more sweeps.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="The folder to write to.", show_default="report/ in the first DIR"),
    ] = None,
    fill: Annotated[
        Path | None,
        typer.Option(metavar="PAGE", help="Also fill in the tables of your own Markdown page."),
    ] = None,
) -> None:
    """Make tables, figures and a page of the results of sweeps.

    Tests with statistics which of the published claims hold.
    """
    from bitstill.report.command import run_report

    run_report(sweeps, output, fill)


@app.command()
def keep(
    sweep: Annotated[Path, typer.Argument(help="The folder of a sweep, finished or not.")],
    target: Annotated[
        Path, typer.Argument(help="The folder to copy to, new or of an earlier copy.")
    ],
) -> None:
    """Copy the parts of a sweep that belong in a repository.

    Records, curves, per-image correctness, teachers' logits, and one packed student.
    """
    from bitstill.errors import counted
    from bitstill.report.keep import keep as copy

    kept = copy(sweep, target)
    typer.echo(f"{target}: {counted(kept.runs, 'finished run')} kept")
    if kept.absent:
        teachers = counted(kept.absent, "teacher")
        typer.echo(f"not found, and so not kept: the logits of {teachers} that they read")


@app.command()
def dashboard(
    place: Annotated[
        str, typer.Argument(metavar="DIR|PROJECT", help="A sweep's folder, or [ENTITY/]PROJECT.")
    ],
    save: Annotated[bool, typer.Option("--save", help="Also save them on wandb's server.")] = False,
    project: Annotated[
        str | None,
        typer.Option(help="[ENTITY/]PROJECT.", show_default="the project of the runs"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The folder to write to.", show_default="dashboard/ in DIR")
    ] = None,
) -> None:
    """Make a wandb report and workspace, as JSON files."""
    from bitstill.dashboards.command import make_dashboard

    typer.echo(make_dashboard(place, project=project, output=output, save=save))


@app.command()
def sync(
    folder: _SweepFolder,
) -> None:
    """Send the offline runs of a sweep to wandb.

    Run it again to send the rest.
    """
    from bitstill.loggers.sync import sync as send

    typer.echo(send(folder))


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="The folder of a run or sweep, or a packed file.")],
    form: Annotated[
        str, typer.Option("--format", help="packed, c, onnx or qonnx; for a teacher, onnx.")
    ] = "packed",
    select: Annotated[str, typer.Option(help="The epoch: last or best_val.")] = "last",
    statistics: Annotated[
        str | None,
        typer.Option(
            help="Batch norm statistics: precise or running.", show_default="precise if measured"
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The file to write.")] = None,
) -> None:
    """Export the network of a finished run."""
    from bitstill.deploy.export import export as write
    from bitstill.deploy.finished import Choice

    file = write(source, form, Choice(select, statistics), output)
    typer.echo(f"{file}: {file.stat().st_size} bytes")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A packed student.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders with images.")],
    as_json: _Json = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads for a batch of images.")] = 1,
) -> None:
    """Predict the classes of images.

    The confidence is the softmax at T = 1, which is not a calibrated probability.
    """
    from bitstill.deploy import predict as deployed
    from bitstill.errors import counted, printable

    predictions = deployed.predict(model, images, threads=threads)
    write = deployed.as_json if as_json else deployed.as_table
    typer.echo(write(predictions.known))
    if predictions.others:
        files = counted(predictions.others, "file")
        typer.echo(f"bitstill: {files} without an image's extension skipped", err=True)
    if predictions.unread:
        for line in predictions.unread:
            typer.echo(f"bitstill: {printable(line)}; skipped", err=True)
        raise typer.Exit(1)


def _show(report: "Report", *, as_json: bool) -> None:
    from bitstill.bench import paired

    typer.echo(paired.as_json(report) if as_json else paired.as_table(report))


@bench_app.command("deploy")
def bench_deploy(
    as_json: _Json = False,
    rounds: Annotated[int, typer.Option(min=3, help="Paired rounds: each times all once.")] = 30,
) -> None:
    """Time the deployed student against onnxruntime.

    On one image and on a batch, with one thread and two.
    """
    from bitstill.bench.deploy import bench

    _show(bench(rounds=rounds), as_json=as_json)


@bench_app.command("train")
def bench_train(
    as_json: _Json = False,
    rounds: Annotated[int, typer.Option(min=3, help="Paired rounds: each times all once.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per step.")] = 256,
    threads: Annotated[int, typer.Option(min=1, help="Threads for each.")] = 1,
) -> None:
    """Time a training step against plain code.

    And against the convolutions alone.
    """
    from bitstill.bench.train import bench

    _show(bench(rounds=rounds, batch_size=batch_size, threads=threads), as_json=as_json)


@bench_app.command("sweep")
def bench_sweep(
    as_json: _Json = False,
    rounds: Annotated[int, typer.Option(min=1, help="Paired rounds: each times all once.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each of the 14 runs.")] = 4,
) -> None:
    """Time the shortened demo against plain code.

    The plain code trains the same runs, one after another.
    """
    from bitstill.bench.sweep import bench

    _show(bench(rounds=rounds, epochs=epochs), as_json=as_json)


def main() -> None:
    """Run the command line; what a user can mend is one line and exit code 2."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by whoever started this process
            setattr(sys, stream, Path(os.devnull).open("w"))  # noqa: SIM115  # open until exit
    # A name that the terminal's encoding lacks must not lose what was computed.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        from bitstill.explanations import FULL_ERROR, print_error

        if os.environ.get(FULL_ERROR) == "1":  # for developers
            raise
        raise SystemExit(print_error(error)) from error
