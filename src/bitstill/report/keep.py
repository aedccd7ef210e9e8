"""Copies what a repository keeps of a sweep: records, curves, per-image results, no weights.

Teachers are kept with their logits, so that the remaining students can be trained elsewhere from
the same teacher, bit for bit.
"""

import dataclasses
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from bitstill.configuration.shipped import conf_directory
from bitstill.errors import UserError
from bitstill.files import copy_atomically, write_atomically
from bitstill.reading import reading
from bitstill.report.gradients import keep_ratios
from bitstill.report.sweeps import HARD, Run, read_sweep, stored_teacher
from bitstill.runs import ENDED, STORE, RunPaths
from bitstill.runs.manifest import manifest_path, manifest_text, read_manifest

# Settings in `.hydra/overrides.yaml` whose values are folders of one machine.
_FOLDER = re.compile(r"\+*(paths\..+|(.+\.)?(path|dir|cache))")


@dataclass(frozen=True)
class Kept:
    """What was kept.

    Attributes:
        runs: number of finished runs.
        absent: number of teachers that finished students have read, but whose logits are missing.
    """

    runs: int
    absent: int


def keep(sweep: Path, target: Path) -> Kept:
    """Copy what a report needs of a sweep's ended runs; a repeated call updates the copy.

    Failed runs are kept, too: without their records they would be awaited for ever. The packed file
    is copied only for the first finished ``hard`` student at T = 15. The record and logits of each
    teacher that students read go to ``teachers`` beside the target, with its curves and per-image
    results if the sweep has no run of it.

    Args:
        sweep: the folder of a sweep, which may be running.
        target: a folder; other files in it stay.

    Raises:
        UserError: the sweep has no runs, the target is the sweep itself or cannot be written, or
            a text file names this machine.
    """
    if sweep.resolve() == target.resolve():
        raise UserError(f"{target} is the sweep itself: give another folder to keep its records in")
    ended = [run for run in read_sweep(sweep) if run.record.status in ENDED]
    texts = {path: text for run in ended for path, text in _texts(run, target)}
    teachers = _teachers(sweep, ended, target)
    for stored, kept in teachers:
        with reading(stored.record, "move it away"):
            texts[kept.record] = stored.record.read_text("utf-8")
    if manifest_path(sweep).exists():
        texts[manifest_path(target)] = _merged_manifest(sweep, target)
    own = {run.record.identity for run in ended}
    home = Path(os.path.expanduser("~"))  # without a home it stays "~", which is not checked
    for path, text in texts.items():
        _refuse_names(path, text, [home, Path.cwd(), sweep.resolve()])
    try:
        for stored, kept in teachers:
            _copy_teacher(stored, kept, has_run=stored.directory.name in own)
        _write(ended, texts, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error}): give another folder") from error
    done = [run for run in ended if run.done]
    read = {run.record.teacher_identity for run in done if stored_teacher(run) is None}
    return Kept(runs=len(done), absent=len(read - {None}))


def _merged_manifest(sweep: Path, target: Path) -> str:
    """Return the target's manifest with the sweep's runs added."""
    asked = {one.identity: one for folder in (target, sweep) for one in read_manifest(folder)}
    kept = [
        dataclasses.replace(
            one,
            paths=RunPaths(target / one.paths.directory.name),
            stored=one.stored and _stored(one.stored, target),
        )
        for one in asked.values()
    ]
    return manifest_text(target, kept)


def _teachers(sweep: Path, ended: Sequence[Run], target: Path) -> list[tuple[RunPaths, RunPaths]]:
    """Return the finished teachers with logits, and where to keep them.

    These are the teachers that the sweep asks for, and those that its students read.
    """
    stored = [*(cell.stored for cell in read_manifest(sweep)), *map(stored_teacher, ended)]
    found = {one.directory.name: one for one in stored if one is not None}
    return [
        (paths, _stored(paths, target))
        for paths in found.values()
        # Logits are computed only from finished teachers.
        if paths.teacher_logits.exists() and paths.record.exists()
    ]


def _copy_teacher(stored: RunPaths, kept: RunPaths, *, has_run: bool) -> None:
    """Copy a teacher's logits and, if the sweep has no run of it, what reports read."""
    names = ("teacher_logits",) if has_run else ("teacher_logits", "metrics", "correctness")
    kept.directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source := getattr(stored, name)).exists():  # a kept store may hold only logits
            copy_atomically(source, getattr(kept, name))


def _stored(teacher: RunPaths, target: Path) -> RunPaths:
    return RunPaths(target.parent / STORE / teacher.directory.name)


def _write(ended: Sequence[Run], texts: Mapping[Path, str], target: Path) -> None:
    done = [run for run in ended if run.done]
    for run in done:
        place = _place(run, target)
        place.directory.mkdir(parents=True, exist_ok=True)
        copy_atomically(run.paths.correctness, place.correctness)
    for path, text in texts.items():  # a run's record comes after its other texts
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    keep_ratios(done, [_place(run, target).gradients for run in done])
    hard = [run for run in done if run.record.cell == HARD and run.paths.packed.exists()]
    for number, run in enumerate(sorted(hard, key=lambda run: run.record.seed)):
        packed = _place(run, target).packed
        if number == 0:
            copy_atomically(run.paths.packed, packed)
        else:
            packed.unlink(missing_ok=True)


def _place(run: Run, target: Path) -> RunPaths:
    return RunPaths(target / run.paths.directory.name)


def _texts(run: Run, target: Path) -> Iterator[tuple[Path, str]]:
    """Return the text files of a run to keep, with placeholders for folders."""
    place = _place(run, target)
    if run.arguments is not None:
        yield place.overrides, _without_folders(run.arguments)
    for name in ("metrics", "record"):
        source: Path = getattr(run.paths, name)
        if source.exists():
            with reading(source, "move it away"):
                text = source.read_text("utf-8")
            yield getattr(place, name), text


def _without_folders(arguments: Sequence[str]) -> str:
    """Return command-line arguments as a YAML list, with FOLDER for every folder."""
    pairs = [one.partition("=") for one in arguments]
    opened = [
        f"{key}=FOLDER" if _FOLDER.fullmatch(key) else f"{key}{equals}{value}"
        for key, equals, value in pairs
    ]
    return yaml.safe_dump(opened, allow_unicode=True, width=1_000_000)


def _refuse_names(path: Path, text: str, folders: Sequence[Path]) -> None:
    """Refuse a text that names this machine or its folders."""
    named = [str(folder) for folder in folders if len(folder.parts) > 1 and str(folder) in text]
    host = platform.node()
    # A host may have the name of a setting, such as gpu.
    settings = {path.stem for path in conf_directory().rglob("*.yaml")}
    if host and host not in settings and re.search(rf"\b{re.escape(host)}\b", text):
        named.append(host)
    if named:
        raise UserError(f"{path.name} of {path.parent.name} names {named[0]}: nothing was kept")
