"""Writes a finished run, or its packed student, to a file for other programs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitstill.deploy.c_source import c_source
from bitstill.deploy.finished import USUAL, Choice, FinishedRun, load_run
from bitstill.engine.packed import describe, from_bytes, read_packed, to_bytes
from bitstill.errors import UserError
from bitstill.files import write_atomically
from bitstill.integer import IntegerNetwork, integer_network
from bitstill.models import Student
from bitstill.packing import describe_selection, pack, unpack
from bitstill.runs import RunPaths

SUFFIXES = {"packed": ".bitstill", "c": ".c", "onnx": ".onnx", "qonnx": ".qonnx.onnx"}


def export(source: Path, form: str, choice: Choice, output: Path | None = None) -> Path:
    """Write a run's network, or a packed student, as a file.

    Args:
        source: folder of a run or sweep, or a packed file, for the other forms.
        form: a key of ``SUFFIXES``; a teacher has ``onnx`` only.
        choice: weights and statistics; a packed file holds only one choice.
        output: the file. None is ``student`` or ``teacher`` in the run's folder, followed by the
            choice if it is not the usual one, so that the run's own files are kept as evidence;
            for a packed file, None is a file beside it.

    Returns:
        The path of the file.

    Raises:
        UserError: the run or an option cannot be used, or the file cannot be written.
    """
    if form not in SUFFIXES:
        raise UserError(f"--format = {form} is not allowed: give one of {', '.join(SUFFIXES)}")
    if output is not None:
        _check_name(output, form)
    try:
        make = _of_packed if source.is_file() else _of_run
        usual, content = make(source, form, choice)
    except ModuleNotFoundError as error:
        missing = f"{error.name} is not installed: pip install 'bitstill[onnx]'"
        raise UserError(missing) from error
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    output = output or usual
    _refuse_to_replace(output, usual)
    if output.resolve() == source.resolve():
        raise UserError(f"--output = {output} is what is exported: give another name")
    try:
        write_atomically(output, content)
    except OSError as error:
        reason = f"{output} cannot be written ({error.strerror})"
        raise UserError(f"{reason}: give --output, in a folder that is there") from error
    return output


def _check_name(output: Path, form: str) -> None:
    """Check that a file's name fits the format, which also excludes files of training."""
    fitting = [one for one, suffix in SUFFIXES.items() if suffix.endswith(output.suffix or "?")]
    if not fitting:
        raise UserError(
            f"--output = {output} ends in none of .bitstill, .c and .onnx: give another name"
        )
    if form not in fitting:
        given = " or ".join(fitting)
        raise UserError(f"--output = {output} is not a name for {form}: give --format {given}")


def _refuse_to_replace(output: Path, usual: Path) -> None:
    """Refuse to replace a folder or pipe, the run's own packed student, or another run's files.

    Args:
        output: the file to write.
        usual: the default file, beside the source.
    """
    if output.exists() and not output.is_file():
        raise UserError(f"--output = {output} is not a file: give another name")
    own = RunPaths(usual.parent).packed.resolve()
    if output.resolve() == own != usual.resolve():
        raise UserError(f"--output = {output} is the run's own: give another name")
    elsewhere = output.parent.resolve() != own.parent
    if output.exists() and elsewhere and RunPaths(output.parent).record.exists():
        raise UserError(f"--output = {output} is another run's: give another name")


def _of_run(directory: Path, form: str, choice: Choice) -> tuple[Path, bytes]:
    """Return the default name and the content for a run's network."""
    run = load_run(directory, choice)
    known: dict[str, Any] = {
        "classes": run.classes,
        "identity": run.record.identity,
        "test_accuracy": run.test_accuracy,
        "selection": describe_selection(run.select, run.epoch, run.statistics),
    }
    usual = run.directory / _name(run, form)
    if isinstance(run.network, Student):
        return usual, _content(integer_network(run.network), form, known)
    if form != "onnx":
        raise ValueError(f"a teacher has no {form} form: give --format onnx, or a student")
    from bitstill.deploy.onnx_models import float_model

    return usual, float_model(run.network, describe(**known))


def _of_packed(file: Path, form: str, choice: Choice) -> tuple[Path, bytes]:
    """Return the default name and the content for a packed student."""
    if form == "packed" or choice != USUAL:
        raise UserError(
            f"{file} is packed, of one choice of weights and statistics: give --format c, onnx or "
            "qonnx, or a run's folder"
        )
    model = read_packed(file)
    name = file.name.removesuffix(SUFFIXES["packed"]) + SUFFIXES[form]
    return file.with_name(name), _content(unpack(model), form, model.known)


def _name(run: FinishedRun, form: str) -> str:
    parts: list[str] = [run.record.model]
    if run.select != "last":
        parts.append(run.select)
    if run.statistics != run.record.deciding:
        parts.append(run.statistics)
    return "-".join(parts) + SUFFIXES[form]


def _content(network: IntegerNetwork, form: str, known: Mapping[str, Any]) -> bytes:
    if form in ("packed", "c"):
        model = pack(network, **known)
        content = to_bytes(model)
        from_bytes(content)  # refuse what could not be read again, for a class's name, say
        return content if form == "packed" else c_source(model)
    if form == "onnx":
        from bitstill.deploy.onnx_models import integer_model

        return integer_model(network, describe(**known))
    from bitstill.deploy.qonnx_model import quant_model

    return quant_model(network, describe(**known))
