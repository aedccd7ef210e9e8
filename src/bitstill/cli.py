"""The command line."""

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


@app.command()
def report(
    sweeps: Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders of sweeps.")],
    output: Annotated[
        Path | None, typer.Option(help="Where files go.", show_default="report/ in the first DIR")
    ] = None,
) -> None:
    """Say what sweeps showed: tables, claims with statistics, figures, one page."""
    from bitstill.application import report as explain
    from bitstill.errors import UserError
    from bitstill.report.command import run_report

    try:
        run_report(sweeps, output)
    except UserError as error:
        raise typer.Exit(explain(error)) from error


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
