"""The teacher store: train once, pin by hash, hand out cached logits."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from bitstill.runs import RunPaths, is_done

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TeacherStore:
    """A folder of finished teacher runs, one for each identity.

    Processes that need the same teacher wait for one training of it.
    """

    root: Path

    def paths(self, identity: str) -> RunPaths:
        """Return where a teacher's files lie, or will lie."""
        return RunPaths(self.root / identity)

    def _lock(self, identity: str) -> FileLock:
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / f"{identity}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for teacher %s, which another process trains", identity[:10])
            lock.acquire()
        return lock

    def obtain(self, identity: str, train: Callable[[Path], None]) -> RunPaths:
        """Return a finished teacher's files, training it if there is none.

        Args:
            identity: the teacher's.
            train: trains it into the given folder.
        """
        paths = self.paths(identity)
        if not is_done(paths, identity):
            with self._lock(identity):
                if not is_done(paths, identity):
                    train(paths.directory)
        return paths

    def logits(self, identity: str, compute: Callable[[], Tensor]) -> Tensor:
        """Return a teacher's logits over its training images, computed once.

        There is no augmentation, so that these are what a forward pass in each step would give.

        Args:
            identity: of a finished teacher.
            compute: returns float32 logits (N, classes), in the order of the training images.

        Returns:
            The logits, mapped into memory that all processes share.
        """
        path = self.paths(identity).teacher_logits
        if not path.exists():
            with self._lock(identity):
                if not path.exists():
                    partial = path.with_suffix(".partial.npy")
                    np.save(partial, compute().numpy())
                    partial.replace(path)
        # Copy-on-write: pages are shared, and torch gets the writable array that it asks for.
        return torch.from_numpy(np.load(path, mmap_mode="c"))
