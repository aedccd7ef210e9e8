"""The command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from bitstill import __version__

app = typer.Typer(
    name="bitstill",
    help="Distil a full-precision CNN into one with 2-bit weights and 1-bit features.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bitstill {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Take the options in front of a command."""


def _complete_overrides(context: typer.Context, incomplete: str) -> list[str]:
    from bitstill.application import complete

    return complete(list(context.params.get("overrides") or []), incomplete)


@app.command(
    context_settings={"ignore_unknown_options": True},  # they are Hydra's
    add_help_option=False,
)
def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(autocompletion=_complete_overrides)
    ] = None,
) -> None:
    """Train a teacher or a student, or sweep over many (-m): a Hydra application."""
    from bitstill.application import train as run_application

    raise typer.Exit(run_application(overrides or []))


@app.command(context_settings={"ignore_unknown_options": True})
def plan(
    overrides: Annotated[
        list[str] | None, typer.Argument(autocompletion=_complete_overrides)
    ] = None,
) -> None:
    """Show what a sweep would do, and what it would cost; takes what `train -m` takes."""
    from bitstill.application import train as run_application

    arguments = ["--multirun", *(overrides or []), "hydra.sweeper.plan_only=true"]
    raise typer.Exit(run_application(arguments))


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="Of a sweep, as multirun/quick.")],
    watch: Annotated[bool, typer.Option("--watch", help="Go on until it stands still.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show how far a sweep is, whatever runs it."""
    from bitstill.console import show_status

    _explained(lambda: show_status(folder, watch=watch, as_json=as_json))


@app.command()
def report(
    sweeps: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of sweeps.")],
    output: Annotated[
        Path | None, typer.Option(help="Where files go.", show_default="report/ in the first DIR")
    ] = None,
) -> None:
    """Say what sweeps showed: tables, claims with statistics, figures, one page."""
    from bitstill.report.command import run_report

    _explained(lambda: run_report(sweeps, output))


def _explained(action: Callable[[], object]) -> None:
    """Do something; an error that the user can mend is one line and exit code 2."""
    try:
        action()
    except Exception as error:
        from bitstill.application import report as explain

        raise typer.Exit(explain(error)) from error


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
