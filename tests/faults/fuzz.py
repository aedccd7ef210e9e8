"""Readers under a fuzzer that follows the branches they take: atheris, which is installed by hand.

    pip install atheris
    python -m tests.faults.fuzz packed -max_total_time=60
    python -m tests.faults.fuzz record -max_total_time=60

It stops at the first exception that is not one line. Python 3.11 to 3.13, Linux.
"""

import hashlib
import importlib
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Fuzzed = Callable[[bytes], None]


def sealed(content: bytes) -> bytes:
    """Give a packed file the checksum that fits it, or few mutations would pass the first check."""
    found = re.search(rb'"checksum":"([0-9a-f]{64})"', content)
    if found is None:
        return content
    start, end = found.span(1)
    fits = hashlib.sha256(content[:start] + b"0" * 64 + content[end:]).hexdigest().encode()
    return content[:start] + fits + content[end:]


def one_line(error: Exception) -> None:
    assert len(str(error).splitlines()) == 1, repr(error)


def packed(folder: Path) -> tuple[bytes, Fuzzed]:
    from tests.students import random_student

    from bitstill.engine.packed import from_bytes, to_bytes
    from bitstill.integer import integer_network
    from bitstill.packing import pack

    def read(content: bytes) -> None:
        try:
            from_bytes(sealed(content))
        except ValueError as refusal:
            one_line(refusal)

    return to_bytes(pack(integer_network(random_student(3)))), read


def record(folder: Path) -> tuple[bytes, Fuzzed]:
    from bitstill.errors import UserError
    from bitstill.runs import RunPaths, RunRecord, read_record

    paths = RunPaths(folder)
    row: dict[str, Any] = {"last": {"epoch": 1.0, "test/accuracy": 0.5}, "best_val": None}
    names = ("identity", "model", "loss", "data_identity", "teacher_identity")
    numbers: dict[str, Any] = {"temperature": 15.0, "seed": 0, "epoch": 1, "epochs": 1}
    plain: dict[str, Any] = dict.fromkeys(names, "a") | numbers | {"config": {"seed": 0}}
    RunRecord(status="done", selections={"running": row}, **plain).write(paths)
    sound = json.dumps(json.loads(paths.record.read_bytes())).encode()  # without spaces

    def read(content: bytes) -> None:
        paths.record.write_bytes(content)
        try:
            found = read_record(paths)
        except UserError as refusal:
            one_line(refusal)
        else:
            assert found is not None
            assert isinstance(found.cell, str)

    return sound, read


def main() -> None:
    """Fuzz one reader, with libFuzzer's options behind its name."""
    atheris = importlib.import_module("atheris")
    which, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        folder, corpus = Path(name), Path(name) / "corpus"
        corpus.mkdir()
        with atheris.instrument_imports(include=["bitstill", "json"]):
            sound, read = {"packed": packed, "record": record}[which](folder)
        (corpus / "sound").write_bytes(sound)
        length = f"-max_len={2 * len(sound)}"
        atheris.Setup([sys.argv[0], str(corpus), length, *options], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
