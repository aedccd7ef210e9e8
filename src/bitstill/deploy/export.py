"""From a finished run to a file that other programs run: ``bitstill export``."""

from pathlib import Path

from bitstill.deploy.finished import Choice, FinishedRun, load_run
from bitstill.deploy.packed import PREPROCESSING, PackedLayer, PackedModel, to_bytes
from bitstill.deploy.planes import pack_codes
from bitstill.errors import UserError
from bitstill.integer import IntegerNetwork, integer_network
from bitstill.models import Student
from bitstill.runs import write_atomically

SUFFIXES = {"packed": ".bitstill", "onnx": ".onnx", "qonnx": ".qonnx.onnx"}


def export(directory: Path, form: str, choice: Choice, output: Path | None = None) -> Path:
    """Write a run's network as a file.

    Args:
        directory: of a run or sweep.
        form: ``packed``, ``onnx`` or ``qonnx``; a teacher has the second only.
        choice: of weights and statistics.
        output: the file; None is ``student`` or ``teacher`` in the run's folder.

    Returns:
        The file.

    Raises:
        UserError: the run or an option cannot be used, or the file cannot be written.
    """
    if form not in SUFFIXES:
        raise UserError(f"--format = {form} is not allowed: give one of {', '.join(SUFFIXES)}")
    run = load_run(directory, choice)
    try:
        content = _content(run, form, choice)
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install 'bitstill[onnx]'") from error
    except ValueError as error:
        raise UserError(f"{run.directory}: {error}") from error
    output = output or run.directory / f"{run.record.model}{SUFFIXES[form]}"
    try:
        write_atomically(output, content)
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror}): give --output") from error
    return output


def _content(run: FinishedRun, form: str, choice: Choice) -> bytes:
    if not isinstance(run.network, Student):
        if form != "onnx":
            raise ValueError(f"a teacher has no {form} form: give --format onnx, or a student")
        from bitstill.deploy.onnx_models import float_model

        return float_model(run.network, _metadata(run, choice))
    network = integer_network(run.network)
    if form == "packed":
        return to_bytes(pack(network, run, choice))
    if form == "onnx":
        from bitstill.deploy.onnx_models import integer_model

        return integer_model(network, _metadata(run, choice))
    from bitstill.deploy.qonnx_model import quant_model

    return quant_model(network, _metadata(run, choice))


def pack(
    network: IntegerNetwork, run: FinishedRun | None = None, choice: Choice | None = None
) -> PackedModel:
    """Return the packed form of an integer network, with what is known of its run."""
    known = {} if run is None else _metadata(run, choice or Choice())
    return PackedModel(
        layers=tuple(
            PackedLayer(
                pack_codes(layer.codes.cpu().numpy(), bits=network.weight_bits),
                layer.thresholds.cpu().numpy(),
            )
            for layer in network.layers
        ),
        weight=network.weight.cpu().numpy(),
        bias=network.bias.cpu().numpy(),
        activation_bits=network.activation_bits,
        classes=_classes(len(network.bias)),
        identity=known.get("identity", ""),
        test_accuracy=None if run is None else run.test_accuracy,
        selection=known.get("selection", ""),
    )


def _classes(count: int) -> tuple[str, ...]:
    """Return the classes' names: their numbers, which for digits are what they show."""
    return tuple(str(label) for label in range(count))


def _metadata(run: FinishedRun, choice: Choice) -> dict[str, str]:
    epoch = "" if run.epoch is None else f" {run.epoch}"
    accuracy = "" if run.test_accuracy is None else repr(run.test_accuracy)
    return {
        "classes": "\n".join(_classes(len(run.network.classifier.bias))),
        "preprocessing": PREPROCESSING,
        "identity": run.record.identity,
        "test_accuracy": accuracy,
        "selection": f"{choice.select}{epoch}, {run.statistics}",
    }
