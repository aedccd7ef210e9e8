"""Hydra's copy of a run's configuration, with the folders that its record leaves out."""

from typing import Any

from bitstill.reading import reading, without_aliases
from bitstill.runs.paths import RunPaths


def composed(paths: RunPaths, key: str) -> Any:
    """Return a part of Hydra's copy of a run's configuration, with interpolations resolved.

    Args:
        paths: the run's files.
        key: the name of the part, such as ``paths.output``.

    Returns:
        Plain values; None if the copy was not kept or has no such part.

    Raises:
        UserError: the copy cannot be read.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not paths.composed.exists():
        return None
    with reading(paths.composed, "move it away"):
        whole = OmegaConf.create(without_aliases(paths.composed.read_text("utf-8")))
    try:
        part = OmegaConf.select(whole, key)
        return OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part
    except (ValueError, OmegaConfBaseException):
        return None
