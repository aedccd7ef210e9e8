"""Turns errors of Hydra and OmegaConf into one line."""

import re
import traceback
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException

from bitstill.configuration.shipped import choices
from bitstill.configuration.single import has_one_value, several_values
from bitstill.errors import first_line, nearest, one_line

_LOGGING = (
    "hydra.job_logging or hydra.hydra_logging cannot be used: leave it out, or give another of "
    "Hydra's choices, hydra/job_logging=NAME"
)
# What Hydra says in errors of general types, and what we say instead.
_PLAIN_ERRORS = {
    "The --resolve flag": "--resolve shows a configuration: give --cfg job, too",
    "Unable to configure": _LOGGING,
    "Unsupported version": _LOGGING,
    "launcher is not configured": (
        "hydra.launcher = null is not allowed: give hydra/launcher=basic, parallel or slurm"
    ),
    "Expecting one subcommand": (
        "--shell-completion is Hydra's own: give bitstill --install-completion"
    ),
    "Only one of --run": (
        "--run, -m, --cfg and --info exclude one another: give one, to bitstill train; --cfg shows "
        "one run"
    ),
    "n_jobs == 0": "hydra.launcher.n_jobs = 0 is not allowed: give a number of processes, or -1",
    "integer string conversion": (
        "a number has thousands of digits: give KEY=VALUE with a smaller one"
    ),
}
# How messages of Hydra and OmegaConf begin, and what we say instead.
_NEXT_STEPS = {
    r"In '((\w+)/[^']+)': Could not override '\2/(\w+)": (
        r"\1: give '- override /\3: CHOICE', with a slash"
    ),
    r"Additional config directory '(.+)' not found": (
        r"--config-dir = \1 is not a folder: give one that is there"
    ),
    r".*does not support sweep type": (
        "interval() is not a list of values: give A,B or range(START,STOP)"
    ),
    r"Could not delete '([\w/]+)'": (
        r"~\1 is not a setting to leave out: give another choice, \1=CHOICE"
    ),
    r"KeyError .* \"Environment variable '(\w+)' not found": (
        r"\1 is not set in the environment: set it, or give the setting that names it a value"
    ),
    r"MissingMandatoryValue while resolving interpolation: .*: ([\w.]+)": (
        r"\1 is not set: give \1=VALUE"
    ),
    r"\w+ raised while resolving interpolation: .*(HydraConfig was not set|setup_globals)": (
        "${hydra:...} has no value yet where a run's settings are checked: give another value"
    ),
    r"Interpolation key '([\w.]+)' not found": (
        r"a setting refers to \1, which is not in what is shown: give --cfg all, or another value"
    ),
    r"In '([^']+)': .*Key '(\w+)' not in 'BasicLauncherConf'": (
        r"\1: \2 is not a setting of this launcher: put '- override /hydra/launcher: parallel' in "
        "its defaults"
    ),
    r"Error merging override \+*hydra\.sweeper\.params\.([\w.]+)=": (
        r"hydra.sweeper.params has whole settings: give \1=A,B itself"
    ),
    r"Could not append to config\. An item is already at '([^']+)'": (
        r"\1 is there already: give \1=VALUE, without +"
    ),
    r"force-add of config groups is not supported: '\+\+([\w/]+)=": (
        r"\1 is a group: give \1=CHOICE, without ++"
    ),
    r"Sweeping over Hydra's configuration is not supported : '([^=]+)=": (
        r"\1 has several values, and a sweep has one: give one"
    ),
    r".*node `([\w.]+)` is not a container": r"\1 is not a single value: give \1.KEY=VALUE",
}
_ABSENT = re.compile(r"Could not delete from config\. '([\w.]+)' does not exist")
_OF_DEFAULTS = ("defaults_list.py", "default_element.py")  # files of Hydra
_TWICE = re.compile(r"(?:Multiple values for )?([\w/]+)(?:\. To over| appears more than once)")


def explain_hydra(chain: Sequence[BaseException], arguments: Sequence[str]) -> str | None:
    """Return one line for an error and its causes; None if neither library raised it."""
    error = chain[0]
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_its_own(error, arguments)
    if isinstance(error, ValueError) and "Config group override must be" in str(error):
        return _not_a_choice(arguments)
    # A choice in a list or behind ${...} that is not a word: Hydra's code fails on it unexplained.
    if isinstance(error, TypeError | AssertionError) and _raised_in(error).name in _OF_DEFAULTS:
        return _not_a_choice(arguments)
    for link in chain:
        known = [line for text, line in _PLAIN_ERRORS.items() if text in str(link)]
        if known and isinstance(link, ValueError | RuntimeError):
            return known[0]
    # joblib raises a worker's error again: such an error is a defect of our own.
    is_again = any(type(link).__name__ == "_RemoteTraceback" for link in chain)
    is_its_own = "joblib" in _raised_in(error).parts and not is_again
    if isinstance(error, TypeError | ValueError) and is_its_own:
        return f"hydra.launcher: {one_line(error)}: give another value"
    return None


def _explain_its_own(error: Exception, arguments: Sequence[str]) -> str:
    if isinstance(error, MissingConfigException):
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if known := error.options or choices().get(group):
            hint = _value_of(group, choice) or nearest(choice, known)
            return f"{group}={choice} is not a choice: give one of {', '.join(known)}{hint}"
    if isinstance(error, OverrideParseException):
        reason = _unreadable(str(error.message))
        quoted = "'KEY=\"VALUE\"' where a value has ~ or the like"
        return f"{error.override!r} cannot be read ({reason}): give KEY=VALUE, or {quoted}"
    lines = str(error).splitlines()
    # After a colon at the end, the reason is on the next line.
    first = _with_next_step(" ".join(lines[: 1 + lines[0].endswith(":")]), error, arguments)
    if "hydra/launcher/submitit_slurm" in first:
        return "hydra/launcher=slurm needs submitit: pip install 'bitstill[slurm]'"
    if isinstance(error, ConfigCompositionException):
        return _unknown_setting(first, arguments)
    return first


def _raised_in(error: BaseException) -> Path:
    """Return the file that raised an error; empty if it was never raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename if frames else "")


_SEE = ("See http", "(See http")


def _unreadable(message: str) -> str:
    """Return the reason of Hydra's parser, with the character that its caret points to."""
    first, *others = [one for one in message.splitlines() if not one.lstrip().startswith(_SEE)]
    second = others[0] if others else first
    column = second.find("^")
    if not second.strip(" ^") and column < len(first):
        return f"at {first[column]}"
    # The first line only repeats what was given, and the parser's names of tokens help nobody.
    return second.partition(" expecting {")[0]


def _with_next_step(line: str, error: BaseException, arguments: Iterable[str]) -> str:
    """Add what to do to a message of Hydra's that says only what is wrong."""
    if twice := _TWICE.match(line):
        return _twice(twice[1], arguments)
    if absent := _ABSENT.match(line):
        return _left_out(absent[1])
    for pattern, said in _NEXT_STEPS.items():
        if found := re.match(pattern, line):
            return found.expand(said)
    if line.startswith("Ambiguous value"):
        name = line.partition("'")[2].partition("=")[0]
        if has_one_value(name):
            return several_values(name)
        listed = ", or brackets for a list" if "." in name else ""
        return f"{line}: give -m to run each{listed}"
    cause = error.__cause__
    if line.startswith("Error merging override") and isinstance(cause, OmegaConfBaseException):
        return f"{line} ({first_line(cause)}): give another value"
    return line


def _left_out(key: str) -> str:
    """Explain ``~trainer.threads``, which Hydra does not find if its value is null."""
    from bitstill.configuration.check import settings

    if key not in settings():
        return _no_setting(key)
    return f"~{key} is not a setting to leave out: give {key}=VALUE, or null where it may have none"


def _twice(name: str, arguments: Iterable[str]) -> str:
    added = any(one.startswith((f"+{name}=", f"++{name}=")) for one in arguments)
    how = f"{name}=CHOICE, without +" if added else f"'- override /{name}: CHOICE' in the file"
    return f"{name} has its choice already: give {how}"


def _not_a_choice(arguments: Sequence[str]) -> str:
    """Explain ``temperature=20``, which Hydra reads as a number and not as a choice."""
    groups = choices()
    for argument in arguments:
        key, _, value = argument.lstrip("+~").partition("=")
        listed = {one.strip() for one in value[1:-1].split(",")}
        if value.startswith("[") and listed <= {"", *groups.get(key, ())}:
            continue  # a list of choices, such as logger=[csv,wandb]
        for choice in [value] if set("[{") & set(value) else value.split(","):
            if key in groups and choice not in groups[key]:
                known = ", ".join(groups[key])
                return (
                    f"{key}={choice} is not a choice: give one of {known}{_value_of(key, choice)}"
                )
    return "a choice must be a word: see bitstill train --help"


def _value_of(group: str, choice: str) -> str:
    """Return how to give a temperature that is not among the choices, ``20`` or ``T20``."""
    number = choice.lstrip("T")
    is_one = group == "temperature" and number.replace(".", "", 1).isdecimal()
    return f", or {group}.value={number}" if is_one else ""


def _unknown_setting(first: str, arguments: Sequence[str]) -> str:
    """Explain a key that Hydra does not find in the composed configuration."""
    if "@experiment." in first:
        return f"{first.rstrip('.')}: give an experiment's file '# @package _global_' as first line"
    if not first.startswith("Could not override '"):
        return first
    from bitstill.configuration.check import settings

    key = first.split("'")[1]
    if key == "hydra.sweeper.plan_only":  # added by `bitstill plan`
        return "hydra/sweeper is not allowed with plan: leave it out, the one that is there plans"
    if key.startswith("hydra.launcher."):
        chosen = next((one for one in arguments if one.startswith("hydra/launcher=")), None)
        if chosen is not None:
            return f"{key} is not a setting of {chosen}: see --cfg hydra -p hydra.launcher"
        return (
            f"{key} is not a setting of this launcher: give hydra/launcher=parallel or slurm, too"
        )
    if key == "hydra.sweeper.params":
        return f"{key} is not a setting yet: give +{key}=VALUE"
    if key in settings():
        group = key.partition(".")[0]
        return (
            f"{key} is not a setting of the {group} that is chosen, or of one of several: choose "
            f"another, {group}=NAME, or give it in a grid of its own (docs/sweeps.md)"
        )
    return _no_setting(key)


def _no_setting(key: str) -> str:
    from bitstill.configuration.check import settings

    shown = "hydra" if key.startswith("hydra.") else "job"
    return f"{key} is not a setting: see bitstill train --cfg {shown}" + _nearest(key, settings())


def _nearest(key: str, known: Sequence[str]) -> str:
    """Suggest a similar setting, also from another group: trainer.max_epochs."""
    alike = get_close_matches(_name(key), map(_name, known), n=1)
    if alike and not get_close_matches(key, known, n=1, cutoff=0.8):
        same = [one for one in known if _name(one) == alike[0]]
        own = [one for one in same if one.partition(".")[0] == key.partition(".")[0]]
        key = min(own or same, key=len)
    return nearest(key, known)


def _name(key: str) -> str:
    return key.rpartition(".")[2]
