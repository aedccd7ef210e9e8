"""Shell completion of ``bitstill train``."""

from pathlib import Path

from hydra._internal.utils import get_args_parser

from bitstill.configuration.flags import flags_first
from bitstill.configuration.shipped import our_hydra


def complete(words: list[str], incomplete: str) -> list[str]:
    """Return completions for the last word of ``bitstill train``'s command line.

    Args:
        words: the finished words before it.
        incomplete: the word, perhaps empty. Bash takes ``=`` for a word of its own, so this may be
            a value alone; the answers are then values alone too.
    """
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra.core.global_hydra import GlobalHydra

    words = _rejoined(words)
    key = f"{words.pop().removesuffix('=')}=" if _is_key(words) else ""
    words = flags_first(words)
    incomplete = key + incomplete
    # Hydra completes one choice of a group; of several, only the last is unfinished.
    name, equals, value = incomplete.partition("=")
    before, comma, last = value.rpartition(",")
    folder = get_args_parser().parse_known_args(words)[0].config_dir
    own = folder is not None and Path(folder).is_dir()
    searched = [f"hydra.searchpath=[file://{Path(folder).absolute()}]"] if own else []
    with our_hydra():
        loader = GlobalHydra.instance().config_loader()
        line = " ".join([*words, *searched, name + equals + last])
        found = BashCompletion(loader)._query(config_name="train", line=line)
    given = name + equals + before + comma
    whole = [given + word.removeprefix(name + equals) if comma else word for word in found]
    return [word.removeprefix(key) for word in whole]


def _rejoined(words: list[str]) -> list[str]:
    """Join words again that bash has split at each ``=``."""
    whole: list[str] = []
    for word in words:
        if whole and (word == "=" or whole[-1].endswith("=")):
            whole[-1] += word
        else:
            whole.append(word)
    return whole


def _is_key(words: list[str]) -> bool:
    """Whether the last word is a key that bash has split from the value being completed."""
    *before, last = words or [""]
    taking = {
        name for one in get_args_parser()._actions if one.nargs != 0 for name in one.option_strings
    }
    if not last or last.startswith("-") or (before and before[-1] in taking):
        return False
    return last.endswith("=") or "=" not in last
