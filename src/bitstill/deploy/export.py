"""From a finished run to a file that other programs run: ``bitstill export``."""

from pathlib import Path
from typing import Any

from bitstill.deploy.finished import Choice, FinishedRun, load_run
from bitstill.engine.packed import describe, from_bytes, to_bytes
from bitstill.errors import UserError
from bitstill.files import write_atomically
from bitstill.integer import integer_network
from bitstill.models import Student
from bitstill.packing import describe_selection, pack
from bitstill.runs import RunPaths

SUFFIXES = {"packed": ".bitstill", "onnx": ".onnx", "qonnx": ".qonnx.onnx"}


def export(directory: Path, form: str, choice: Choice, output: Path | None = None) -> Path:
    """Write a run's network as a file.

    Args:
        directory: of a run or sweep.
        form: ``packed``, ``onnx`` or ``qonnx``; a teacher has the second only.
        choice: of weights and statistics.
        output: the file; None is ``student`` or ``teacher`` in the run's folder, followed by a
            choice that is not the usual one: what the run left is evidence, and stays.

    Returns:
        The file.

    Raises:
        UserError: the run or an option cannot be used, or the file cannot be written.
    """
    if form not in SUFFIXES:
        raise UserError(f"--format = {form} is not allowed: give one of {', '.join(SUFFIXES)}")
    if output is not None:
        _check_name(output, form)
    run = load_run(directory, choice)
    try:
        content = _content(run, form)
    except ModuleNotFoundError as error:
        missing = f"{error.name} is not installed: in the checkout, pip install '.[onnx]'"
        raise UserError(missing) from error
    except ValueError as error:
        raise UserError(f"{run.directory}: {error}") from error
    usual = run.directory / _name(run, form)
    output = output or usual
    _refuse_to_replace(output, usual, RunPaths(run.directory))
    try:
        write_atomically(output, content)
    except OSError as error:
        reason = f"{output} cannot be written ({error.strerror})"
        raise UserError(f"{reason}: give --output, in a folder that is there") from error
    return output


def _check_name(output: Path, form: str) -> None:
    """See that a file's name says what it is; so it is nothing that training has written."""
    fitting = [one for one, suffix in SUFFIXES.items() if suffix.endswith(output.suffix or "?")]
    if not fitting:
        raise UserError(
            f"--output = {output} ends neither in .bitstill nor in .onnx: give another name"
        )
    if form not in fitting:
        given = " or ".join(fitting)
        raise UserError(f"--output = {output} is no name for {form}: give --format {given}")


def _refuse_to_replace(output: Path, usual: Path, paths: RunPaths) -> None:
    """Refuse what is no file, and an export that a record goes with."""
    if output.exists() and not output.is_file():
        raise UserError(f"--output = {output} is no file: give another name")
    if output.resolve() == paths.packed.resolve() != usual.resolve():
        raise UserError(f"--output = {output} is the run's own: give another name")
    elsewhere = output.parent.resolve() != paths.directory.resolve()
    if output.exists() and elsewhere and RunPaths(output.parent).record.exists():
        raise UserError(f"--output = {output} is another run's: give another name")


def _name(run: FinishedRun, form: str) -> str:
    parts: list[str] = [run.record.model]
    if run.select != "last":
        parts.append(run.select)
    if run.statistics != run.record.deciding:
        parts.append(run.statistics)
    return "-".join(parts) + SUFFIXES[form]


def _content(run: FinishedRun, form: str) -> bytes:
    if not isinstance(run.network, Student):
        if form != "onnx":
            raise ValueError(f"a teacher has no {form} form: give --format onnx, or a student")
        from bitstill.deploy.onnx_models import float_model

        return float_model(run.network, _metadata(run))
    network = integer_network(run.network)
    if form == "packed":
        content = to_bytes(pack(network, **_known(run)))
        from_bytes(content)  # what cannot be read again, by a class's name, say, is not written
        return content
    if form == "onnx":
        from bitstill.deploy.onnx_models import integer_model

        return integer_model(network, _metadata(run))
    from bitstill.deploy.qonnx_model import quant_model

    return quant_model(network, _metadata(run))


def _metadata(run: FinishedRun) -> dict[str, str]:
    return describe(**_known(run))


def _known(run: FinishedRun) -> dict[str, Any]:
    return {
        "classes": run.classes,
        "identity": run.record.identity,
        "test_accuracy": run.test_accuracy,
        "selection": describe_selection(run.select, run.epoch, run.statistics),
    }
