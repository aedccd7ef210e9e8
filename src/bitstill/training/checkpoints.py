"""Checkpoints that survive a crash: written atomically, checked, with the previous one kept."""

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch

from bitstill.errors import first_line
from bitstill.files import write_atomically
from bitstill.runs import RunPaths
from bitstill.training.lightning import pl

log = logging.getLogger(__name__)

_DIGITS = 64  # hexadecimal digits of a SHA-256


class AtomicCheckpointIO(pl.plugins.CheckpointIO):
    """Reads and writes checkpoints for a Lightning Trainer, without unpickling."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint, atomically."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomically(Path(path), _sealed(content.getvalue()))

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any | None = None,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint of tensors and plain values only, whatever ``weights_only`` says.

        By default, tensors are loaded onto the CPU, since the GPU that wrote them may be absent.
        """
        where = map_location or "cpu"
        loaded: dict[str, Any] = torch.load(path, map_location=where, weights_only=True)
        return loaded

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


def _sealed(archive: bytes) -> bytes:
    """Append a checksum of the whole file as the zip archive's comment, which torch ignores.

    The archive's own checksums cover its entries, but not the directory that says where they lie.
    """
    body = archive[:-2] + _DIGITS.to_bytes(2, "little")  # sets the comment's length, until now 0
    return body + hashlib.sha256(body).hexdigest().encode()


def rotate_checkpoint(paths: RunPaths) -> None:
    """Keep the checkpoint that is about to be replaced as the previous one."""
    if paths.checkpoint.exists():
        paths.checkpoint.replace(paths.previous_checkpoint)


def newest_checkpoint(paths: RunPaths) -> Path | None:
    """Return the newest intact checkpoint, or None; warn of damaged ones.

    If only the previous checkpoint is intact, it replaces the damaged one, which
    :func:`rotate_checkpoint` would otherwise write over it.
    """
    found = [one for one in (paths.checkpoint, paths.previous_checkpoint) if one.exists()]
    for path in found:
        fault = _fault(path)
        if fault is None:
            return path.replace(paths.checkpoint)
        instead = "starting over" if path is found[-1] else "trying the one before"
        log.warning("%s is damaged (%s): %s", path, fault, instead)
    return None


def _fault(path: Path) -> str | None:
    """Return what is wrong with a checkpoint; torch reads damaged numbers without an error."""
    try:
        content = path.read_bytes()
        body, checksum = content[:-_DIGITS], content[-_DIGITS:]
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            return "its checksum does not fit"
        torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # noqa: BLE001  # damage can raise anything
        return f"{type(error).__name__}: {first_line(error)}"
    return None
