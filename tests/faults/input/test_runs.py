"""Folders of runs that are damaged, forged or none, for every command that reads them."""

import errno
import itertools
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load, save_file
from tests.conftest import made_up
from tests.damage import Damage, a_circle, a_folder, cut, written

from bitstill.errors import UserError
from bitstill.report.gradients import GRID
from bitstill.report.outputs import images_of
from bitstill.report.sweeps import Run, stored_teacher
from bitstill.runs import RunPaths, read_record
from bitstill.runs.composed import composed
from bitstill.runs.correctness import read_correctness
from bitstill.runs.curves import read_curves

Refused = Callable[..., str]
Attack = Callable[..., tuple[int, str, str]]


def forged(**changes: Any) -> Damage:
    """Changes values in a record."""

    def change(record: Path) -> None:
        record.write_text(json.dumps(json.loads(record.read_bytes()) | changes))

    return change


RECORDS: dict[str, Damage] = {
    "empty": written(b""),
    "text": written(b"done"),
    "binary": written(bytes(range(256))),
    "a list": written(b"[]"),
    "null": written(b"null"),
    "a number": written(b"3"),
    "nested": written(b"[" * 100_000),
    "cut": cut,
    "another version": forged(schema_version=99),
    "version a text": forged(schema_version="1"),
    "unknown key": forged(colour="red"),
    "status": forged(status="finished"),
    "status a list": forged(status=["done"]),
    "identity a number": forged(identity=7),
    "loss null": forged(loss=None),
    "T a text": forged(temperature="hot"),
    "seed a text": forged(seed="0"),
    "epoch a text": forged(epoch="3"),
    "epochs a fraction": forged(epochs=0.5),
    "config a list": forged(config=[]),
    "config a text": forged(config="{}"),
    "images a list": forged(images=[1]),
    "images texts": forged(images={"test": "many"}),
    "seconds a text": forged(seconds="long"),
    "seconds of 400 digits": forged(seconds=10**400),
    "epoch of 400 digits": forged(epoch=10**400),
    "configuration of 400 digits": forged(config={"seed": 10**400}),
    "loss of markup": forged(loss="[/b]"),
    "loss of two lines": forged(loss="hard\n|x"),
    "identity above": forged(identity=".."),
    "teacher elsewhere": forged(teacher_identity="../../x"),
    "teacher nowhere": forged(teacher_identity=""),
    "teacher unprintable": forged(teacher_identity="\x1b[2J"),
    "accuracy above 1": forged(
        selections={
            "running": {
                name: {"epoch": 1, "test/accuracy": 1e308}
                for name in ("last", "best_val", "best_test")
            }
        }
    ),
    "selections a list": forged(selections=[1]),
    "selections texts": forged(selections={"running": "best"}),
    "selections deep": forged(selections={"running": {"last": {"test/accuracy": "high"}}}),
    "selection a list": forged(selections={"running": {"last": [1]}}),
    "sizes texts": forged(sizes={"checkpoint": "large"}),
    "checksums a list": forged(checksums=["a"]),
    "error a text": forged(error="bad"),
    "device a list": forged(device=[]),
    "a folder": a_folder,
    "a circular link": a_circle,
}


def commands(paths: RunPaths) -> dict[str, tuple[str, ...]]:
    sweep = str(paths.directory.parent)
    return {
        "status": ("status", sweep),
        "report": ("report", sweep, "--output", "output/report"),
        "export": ("export", str(paths.directory), "--output", "output/student.bitstill"),
    }


def test_the_run_is_good(attack: Attack, run: RunPaths) -> None:
    for arguments in commands(run).values():
        code, _, err = attack(*arguments)
        assert code == 0, err


@pytest.mark.parametrize(
    ("command", "case"),
    [
        *(("export", case) for case in RECORDS),
        # They read records as it does, and differ in what they make of one that they cannot read.
        *itertools.product(
            ("status", "report"), ("cut", "another version", "a folder", "a circular link")
        ),
    ],
)
def test_a_record_that_is_none(refused: Refused, run: RunPaths, command: str, case: str) -> None:
    RECORDS[case](run.record)
    line = refused(*commands(run)[command])
    advice = ("run its command again", "use the bitstill that wrote it", "move it away")
    # Of many, a damaged one is left out with a warning; here there is no other.
    other = "holds no" in line if command != "export" else case == "a circular link"
    assert other or ("run.json" in line and any(one in line for one in advice))


@pytest.mark.parametrize(("name", "read"), [("record", read_record), ("metrics", read_curves)])
def test_a_file_that_is_for_others_is_no_damage(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch, name: str, read: Callable[[RunPaths], object]
) -> None:
    """Of a colleague's sweep: nobody is told to remove it. To root all are open: it is made up."""
    file = getattr(run, name)

    def forbidden(path: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbidden)
    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(UserError) as caught:
        read(run)
    line = f"{file} cannot be read (Permission denied): ask its owner to let you read it"
    assert str(caught.value) == line


FORGED: dict[str, dict[str, Any]] = {
    "no configuration": {"config": {}},
    "no batch norm": {"config": {"quantizer": {}}},
    "no schedule": {"config": {"schedule": None}},
    "quantizer a text": {"config": {"quantizer": "dorefa", "batch_norm": {}}},
    "bits": {
        "config": {"quantizer": {"weight_bits": 99}, "batch_norm": {"momentum": 1, "epsilon": 1}}
    },
    "method": {
        "config": {"quantizer": {"method": "x"}, "batch_norm": {"momentum": 1, "epsilon": 1}}
    },
    "key": {"config": {"quantizer": {"colour": 1}, "batch_norm": {"momentum": 1, "epsilon": 1}}},
}


@pytest.mark.parametrize("case", FORGED)
@pytest.mark.parametrize("command", ["report", "export"])
def test_a_configuration_in_a_record(
    refused: Refused, run: RunPaths, case: str, command: str
) -> None:
    forged(**FORGED[case])(run.record)
    line = refused(*commands(run)[command])
    assert "run.json" in line


FILES: dict[str, Damage] = {
    "empty": written(b""),
    "text": written(b"hello\nworld,1\n"),
    "binary": written(bytes(range(256)) * 4),
    "cut": cut,
    "long header": written(b"\xff" * 7 + b"\x7f" + b"{}"),
    "a folder": a_folder,
    "a circular link": a_circle,
}


@pytest.mark.parametrize("case", FILES)
def test_curves_that_cannot_be_read(
    attack: Attack, refused: Refused, run: RunPaths, case: str
) -> None:
    FILES[case](run.metrics)
    if case in ("empty", "cut", "a circular link"):  # no rows, fewer rows, no file
        assert attack(*commands(run)["report"])[0] == 0
    else:
        assert run.metrics.name in refused(*commands(run)["report"])


@pytest.mark.parametrize(
    "row", ["1,0.5,nan", "1,0.5,1e308", "inf,0.5,0.5", "nan,0.5,0.5", "0,0.5,0.5", ",0.5,0.5", ",,"]
)
def test_curves_of_no_epochs(run: RunPaths, row: str) -> None:
    run.metrics.write_text(f"epoch,train/loss,test/accuracy\n{row}\n")
    with pytest.raises(UserError, match=r"metrics\.csv cannot be read .*: move it away$"):
        read_curves(run)


@pytest.mark.parametrize("ratio", [0, -1, 10**400])
@pytest.mark.parametrize("name", ["measured", "limit"])
def test_gradients_that_have_no_ratio(
    refused: Refused, run: RunPaths, name: str, ratio: int
) -> None:
    forged(loss="soft_hard", teacher_identity="t")(run.record)
    lists = {"T": GRID, "measured": [1.0] * len(GRID), "limit": [1.0] * len(GRID)}
    run.gradients.write_text(json.dumps(lists | {name: [ratio] * len(GRID)}))
    assert "gradients.json cannot be read" in refused(*commands(run)["report"])


@pytest.mark.parametrize(
    "content",
    [
        "paths: {teachers: 3}",
        "data: {_target_: bitstill.data.Digits, val_fraction: x, split_seed: 0, cache: cache}",
        "data: {_target_: bitstill.data.Digits, val_fraction: 0.1, split_seed: 0, cache: 3}",
        "data: {_target_: bitstill.data.Parquet, path: 3, val_fraction: 0, split_seed: 0,cache: c}",
        "data: {_target_: bitstill.data.Digits, val_fraction: 0, split_seed: 0, cache: ~nobody.x}",
    ],
)
def test_a_composed_configuration_of_other_types_says_nothing(run: RunPaths, content: str) -> None:
    run.composed.parent.mkdir()
    run.composed.write_text(content)
    record = read_record(run)
    assert record is not None
    found = Run(run, record)
    assert images_of([found]) is None
    assert stored_teacher(found) is None


def test_what_stands_for_more_than_it_says_is_not_read(run: RunPaths) -> None:
    """Nine lists of nine lists of nine: the whole would be 387 million."""
    names = "abcdefghi"
    lines = [f"x{names[0]}: &{names[0]} [{','.join('x' * 9)}]"]
    for one, other in itertools.pairwise(names):
        lines.append(f"x{other}: &{other} [{','.join([f'*{one}'] * 9)}]")
    run.composed.parent.mkdir()
    run.composed.write_text("\n".join(lines))
    with pytest.raises(UserError, match="it has aliases"):
        composed(run, "xa")
    run.overrides.write_text("- &a [x]\n- *a\n")
    record = read_record(run)
    assert record is not None
    with pytest.raises(UserError, match="it has aliases"):
        _ = Run(run, record).arguments


@pytest.mark.parametrize("case", FILES)
def test_results_that_cannot_be_read(run: RunPaths, case: str) -> None:
    FILES[case](run.correctness)
    if case == "a circular link":
        assert read_correctness(run) == {}
        return
    with pytest.raises(UserError, match=r"correctness\.npz cannot be read \(.*: move it away$"):
        read_correctness(run)


@pytest.mark.parametrize("case", FILES)
def test_weights_that_cannot_be_read(refused: Refused, run: RunPaths, case: str) -> None:
    FILES[case](run.weights)
    assert run.weights.name in refused(*commands(run)["export"])


@pytest.mark.parametrize("case", sorted(set(FILES) - {"a circular link"}))
def test_a_report_of_weights_that_cannot_be_read(
    refused: Refused, run: RunPaths, case: str
) -> None:
    FILES[case](run.weights)
    assert run.weights.name in refused(*commands(run)["report"])


def test_pickled_results_are_not_unpickled(run: RunPaths, place: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {place}/executed",)

    np.savez(run.correctness, **{"running/last": np.array([Evil()], dtype=object)})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="something else than plain arrays"):
        read_correctness(run)
    assert not (place / "executed").exists()


def test_weights_of_another_shape(refused: Refused, run: RunPaths) -> None:
    tensors = load(run.weights.read_bytes())  # not mapped: the file is overwritten
    for name in ("classifier.weight", "classifier.bias"):
        changed = {**tensors, name: tensors[name][:3].contiguous()}
        save_file(changed, run.weights)
        assert run.weights.name in refused(*commands(run)["export"])
        del changed[name]
        save_file(changed, run.weights)
        assert run.weights.name in refused(*commands(run)["export"])


def test_weights_that_are_not_finite(refused: Refused, run: RunPaths) -> None:
    tensors = load(run.weights.read_bytes())
    tensors["classifier.bias"][0] = float("nan")
    save_file(tensors, run.weights)
    assert "finite" in refused(*commands(run)["export"])


@pytest.mark.parametrize(
    "content", [b"{", b"\0", b"data: 3\n", b"- 1\n", b"a: !!python/name:os.system\n"]
)
@pytest.mark.parametrize("name", ["composed", "overrides"])
def test_hydras_copies_that_cannot_be_read(
    attack: Attack, refused: Refused, run: RunPaths, name: str, content: bytes
) -> None:
    path: Path = getattr(run, name)
    path.parent.mkdir()
    path.write_bytes(content)
    if content in (b"data: 3\n", b"- 1\n"):  # it can be read, and says nothing
        code, _, err = attack(*commands(run)["report"])
        assert code == 0, err
    else:
        assert path.name in refused(*commands(run)["report"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b'{"runs": 3}',
        b'{"runs": [3]}',
        b'{"runs": [{"cell": 3}]}',
        *(
            json.dumps(
                {
                    "runs": [
                        {
                            "cell": "n",
                            "seed": 0,
                            "difference": "",
                            "identity": "i",
                            "epochs": 1,
                            "directory": "d",
                            "stored": None,
                        }
                        | one
                    ]
                }
            ).encode()
            for one in (
                {"cell": "\x1b]0;x\x07"},
                {"difference": "\x1b]0;x\x07"},
                {"epochs": 10**400},
                {"directory": "a\0b"},
                {"directory": "\ud800"},
                {"stored": "teachers/.."},
            )
        ),
    ],
    ids=repr,
)
def test_a_manifest_that_cannot_be_read(refused: Refused, run: RunPaths, content: bytes) -> None:
    (run.directory.parent / "sweep.json").write_bytes(content)
    line = refused("status", str(run.directory.parent))
    assert "sweep.json cannot be read" in line


@pytest.mark.parametrize("folder", ["nowhere", "taken", "empty", "circle", "output"])
@pytest.mark.parametrize("command", ["status", "report", "export"])
def test_a_folder_without_runs(refused: Refused, place: Path, folder: str, command: str) -> None:
    (place / "taken").write_text("mine")
    (place / "empty").mkdir()
    (place / "circle").symlink_to("circle")
    line = refused(command, folder)
    assert folder in line


def test_a_link_out_of_a_run_is_replaced_and_not_followed(place: Path, run: RunPaths) -> None:
    outside = place / "precious.json"
    outside.write_text("mine")
    run.record.unlink()
    run.record.symlink_to(outside)
    made_up().write(run)
    assert outside.read_text() == "mine"
    assert not run.record.is_symlink()
    run.metrics.unlink()
    run.metrics.symlink_to(outside)
    run.clear()
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_what_a_report_writes_has_the_users_permissions(
    attack: Attack, place: Path, run: RunPaths, mask: int
) -> None:
    before = os.umask(mask)
    try:
        code, _, err = attack(*commands(run)["report"])
        assert code == 0, err
    finally:
        os.umask(before)
    files = [path for path in (place / "output" / "report").rglob("*") if path.is_file()]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~mask}
