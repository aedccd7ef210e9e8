"""The teacher store: each teacher is trained once and pinned by hash; its logits are cached.

In the folder ``paths.teachers``, each teacher is a run whose folder is named by its identity.
Processes that need the same teacher wait until one of them has trained it
(:func:`locks.exclusive`).
"""

import functools
import hashlib
from collections.abc import Callable

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bitstill.errors import UserError
from bitstill.files import write_atomically
from bitstill.reading import check_sha256
from bitstill.runs import RunPaths, read_record
from bitstill.runs.locks import exclusive

_compare = functools.partial(
    check_sha256,
    trained="its teacher",
    advice="remove its folder, and the teacher is trained again",
)


def verify(paths: RunPaths) -> None:
    """Check a finished teacher's weights against the checksum in its record.

    A teacher kept in a repository may have only its logits (:mod:`bitstill.report.keep`).

    Raises:
        UserError: the file is missing, or differs from what training wrote.
    """
    if not paths.weights.exists():
        if paths.teacher_logits.exists():
            return
        raise UserError(
            f"{paths.weights} is missing: remove its folder, and the teacher is trained again"
        )
    record = read_record(paths)
    expected = record.checksums.get(paths.weights.name) if record else None
    _compare(paths.weights, paths.weights.read_bytes(), expected)


def stored_logits(paths: RunPaths, compute: Callable[[], Tensor]) -> Tensor:
    """Return a teacher's logits over its training images, computed once.

    There is no augmentation, so these equal the logits of a forward pass in each step.

    Args:
        paths: files of a finished teacher.
        compute: returns float32 logits (N, classes), in the order of the training images.

    Returns:
        The logits, mapped into memory that all processes share.

    Raises:
        UserError: the file is damaged or was altered.
    """
    path = paths.teacher_logits
    if not path.exists():
        with exclusive(paths):
            if not path.exists():  # another process may have written it meanwhile
                logits = compute().contiguous()
                checksum = hashlib.sha256(logits.numpy().data).hexdigest()
                write_atomically(path, save({"logits": logits}, metadata={"sha256": checksum}))
    try:
        with safe_open(path, framework="pt") as file:
            stored: Tensor = file.get_tensor("logits")
            _compare(path, stored.numpy().data, (file.metadata() or {}).get("sha256"))
    except (SafetensorError, TypeError) as error:  # TypeError: NumPy lacks bf16
        raise UserError(f"{path} cannot be read ({error}): remove its folder") from error
    return stored
