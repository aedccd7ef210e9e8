"""Settings of which a sweep must have one value, since they tell no two runs apart."""

# (Hydra itself refuses several values of its own settings.)
_OF_THE_SWEEP = ("experiment", "name", "paths", "sweep", "logger")
_LISTS = {"logger": "csv,wandb", "logger.wandb.tags": "A,B"}


def has_one_value(key: str) -> bool:
    """Whether a setting or group must have one value in a sweep."""
    return key.lstrip("+").partition(".")[0] in _OF_THE_SWEEP


def several_values(key: str) -> str:
    """Return the error for several values of such a setting; lists need brackets."""
    name = key.lstrip("+")
    how = (
        f"give brackets, '{name}=[{_LISTS[name]}]'"
        if name in _LISTS
        else "give one here, and run the command again for each other"
    )
    return f"{name} has several values, and a sweep has one: {how}"
