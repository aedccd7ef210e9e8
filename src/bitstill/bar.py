"""A progress bar for work that may take long."""

from typing import Any


def bar(total: int, what: str, unit: str) -> Any:
    """Return a tqdm bar: in a terminal, after a second, and removed at the end.

    Args:
        total: how much there is to do; tell ``update`` what is done.
        what: what is being done, such as ``decoding``.
        unit: what is counted, in the plural.
    """
    from tqdm import tqdm  # imported only when something takes long

    return tqdm(total=total, desc=what, unit=f" {unit}", delay=1, leave=False, disable=None)
