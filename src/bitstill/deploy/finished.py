"""Loads the network of a finished run from its directory."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from bitstill.errors import UserError, counted, first_line
from bitstill.models import Network, network_of
from bitstill.reading import check_sha256, reading
from bitstill.runs import RunPaths, RunRecord, known_runs, read_record
from bitstill.schema import STATISTICS
from bitstill.training.weights import are_finite, load_weights

_DEPLOYABLE = ("last", "best_val")
AGAIN = "remove the run's folder and train it again"  # otherwise a finished run is skipped
_NOT_KEPT = f"export where it was trained, or {AGAIN}"


@dataclass(frozen=True)
class Choice:
    """Which weights of a run, with which batch norm statistics.

    Attributes:
        select: ``last`` or ``best_val``.
        statistics: ``precise`` or ``running``; None is precise if the run measured them.
    """

    select: str = "last"
    statistics: str | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("--select", self.select, _DEPLOYABLE),
            ("--statistics", self.statistics, (None, *STATISTICS)),
        ):
            if value not in allowed:
                words = ", ".join(word for word in allowed if word)
                raise UserError(f"{name} = {value} is not allowed: give one of {words}")


USUAL = Choice()


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A network in evaluation mode, with what is known about it.

    Attributes:
        record: the run's record.
        directory: the run's folder.
        network: the network with the chosen weights and statistics.
        select: ``last`` or ``best_val``.
        statistics: ``precise`` or ``running``.
        epoch: the epoch that the weights are from, or None if it is not recorded.
        test_accuracy: what was recorded for exactly these weights and statistics, or None.
    """

    record: RunRecord
    directory: Path
    network: Network
    select: str
    statistics: str
    epoch: int | None
    test_accuracy: float | None

    @property
    def classes(self) -> list[str]:
        """The names of the classes; numbers if the record has no names."""
        count = len(self.network.classifier.bias)
        known = self.record.classes
        return known if len(known) == count else [str(label) for label in range(count)]


def load_run(directory: str | Path, choice: Choice = USUAL) -> FinishedRun:
    """Load a run, or the best run of a sweep.

    Args:
        directory: the folder of a run, or of a sweep, from which ``best_val`` takes the student
            with the best validation accuracy.
        choice: weights and statistics.

    Raises:
        UserError: there is no such run, or it is not finished or lacks the chosen weights or
            statistics.
    """
    paths, record = _find(Path(directory), choice)
    statistics = choice.statistics or record.deciding
    file = paths.weights if choice.select == "last" else paths.best_val_weights
    if not file.exists():
        had_none = choice.select == "best_val" and not record.images.get("val")
        why = "the run has no validation images; give --select last" if had_none else _NOT_KEPT
        raise UserError(f"{paths.directory} holds no {file.name}: {why}")
    with reading(file, AGAIN):
        _verify(file, record)
        classes = _classes(file)
    with reading(paths.record, AGAIN):
        network = network_of(record.config, is_teacher=record.is_teacher, classes=classes)
    try:
        load_weights(network, file, statistics=statistics)
    except KeyError as error:
        raise UserError(
            f"{paths.directory} holds no exact batch norm statistics: give --statistics running"
        ) from error
    except RuntimeError as error:
        raise UserError(f"{file} does not fit its record: {first_line(error)}") from error
    if not are_finite(network):
        raise UserError(f"{file} holds numbers that are not finite: {AGAIN}")
    # best_val's weights were chosen by the deciding statistics; others may choose another epoch.
    other = choice.select == "best_val" and statistics != record.deciding
    row = None if other else record.chosen(choice.select, statistics)
    accuracy = None if row is None else row.get("test/accuracy")
    epoch = None if row is None else int(row["epoch"])
    return FinishedRun(
        record, paths.directory, network.eval(), choice.select, statistics, epoch, accuracy
    )


def _find(directory: Path, choice: Choice) -> tuple[RunPaths, RunRecord]:
    paths = RunPaths(directory)
    record = read_record(paths)
    if record is not None:
        if not record.done:
            raise UserError(
                f"{directory} is {record.status}: finish it with the command that began it"
            )
        return paths, record
    done = [run for run in known_runs(directory) if run[1].done]
    if not done:
        raise UserError(f"{directory} holds no finished run: give a folder with a run.json")
    if choice.select != "best_val":
        raise UserError(
            f"{directory} is a sweep of {counted(len(done), 'finished run')}: give one of its "
            "folders, or --select best_val for the student with the best validation accuracy"
        )
    rated = [(value, run) for run in done if (value := _validation(run[1])) is not None]
    if not rated:
        raise UserError(f"{directory} has no student with validation images: give a run's folder")
    return max(rated, key=lambda one: one[0])[1]


def _validation(record: RunRecord) -> float | None:
    """Return a student's best validation accuracy, whose weights were kept; None for others."""
    if record.model != "student":
        return None
    row = record.chosen("best_val")
    return None if row is None else row.get("val/accuracy")


def _verify(file: Path, record: RunRecord) -> None:
    """Refuse weights that are not those whose accuracies the record holds."""
    if file.name in record.checksums:  # a record made by hand may have none
        expected = record.checksums[file.name]
        check_sha256(file, file.read_bytes(), expected, trained="the run", advice=AGAIN)


def _classes(file: Path) -> int:
    with safe_open(file, framework="np") as tensors:
        return int(tensors.get_slice("classifier.bias").get_shape()[0])
