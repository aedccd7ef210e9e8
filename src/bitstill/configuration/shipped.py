"""Where the shipped configuration is, and Hydra started on it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cache
from pathlib import Path


def conf_directory() -> Path:
    """Return the folder of the shipped configuration: in the wheel, else in the checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parents[1] / "conf"


@cache
def choices() -> Mapping[str, Sequence[str]]:
    """Return the shipped choices of every config group."""
    groups = (path for path in conf_directory().iterdir() if path.is_dir())
    return {path.name: sorted(option.stem for option in path.glob("*.yaml")) for path in groups}


@contextmanager
def our_hydra() -> Iterator[None]:
    """Initialize Hydra with our configuration; the caller's own Hydra is restored afterwards."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase

    theirs, version = GlobalHydra.instance().hydra, copy(VersionBase.instance())
    name = JobRuntime.instance().get("name")  # Hydra does not restore it
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_directory()), job_name=name, version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = theirs
        VersionBase.set_instance(version)
