"""Where the shipped configuration lies."""

from pathlib import Path


def conf_directory() -> Path:
    """Return the folder of the shipped configuration: in the wheel, else in the checkout."""
    package = Path(__file__).parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parents[1] / "conf"
