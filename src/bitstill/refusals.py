"""One line for what libraries raise at input that they cannot read."""

import re
from collections.abc import Iterable

import yaml
from omegaconf.errors import OmegaConfBaseException

from bitstill.errors import first_line, one_line

_NO_MEMORY = ("can't allocate memory", "out of memory")  # torch's words, of a CPU and of a GPU
_LOGGING = (
    "hydra.job_logging or hydra.hydra_logging cannot be used: leave it out, or give another of "
    "Hydra's choices, hydra/job_logging=NAME"
)
_HYDRA_ERRORS = {
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


def explain_library(chain: Iterable[BaseException]) -> str | None:
    """Return a line for an error, the first of a chain, that a user can mend; None for others."""
    for link in chain:
        known = [line for text, line in _HYDRA_ERRORS.items() if text in str(link)]
        if known and isinstance(link, ValueError | RuntimeError):
            return known[0]
        if isinstance(link, yaml.YAMLError):
            return f"a configuration file cannot be read ({one_line(link)}): mend it there"
        if isinstance(link, UnicodeDecodeError):
            return f"a configuration file is not UTF-8 ({one_line(link)}): save it as UTF-8"
        if isinstance(link, RecursionError):
            return "a configuration refers to itself: look for it in its defaults and in ${...}"
        if type(link).__name__ == "FailedJobError":  # submitit's, an extra
            return f"Slurm has not taken the jobs ({one_line(link)}): see that sbatch works here"
        if isinstance(link, MemoryError) or any(one in str(link) for one in _NO_MEMORY):
            return (
                f"out of memory ({one_line(link)}): end other programs, or give a smaller "
                "schedule.batch_size or hydra.launcher.n_jobs"
            )
    return None


LOGGERS = "give brackets, 'logger=[csv,wandb]'"  # a run has several at once
# How Hydra's and OmegaConf's lines begin, and what is said instead.
_NEXT_STEPS = {
    r"In '((\w+)/[^']+)': Could not override '\2/(\w+)": (
        r"\1: give '- override /\3: CHOICE', with a slash"
    ),
    r".*does not support sweep type": (
        "interval() is no list of values: give A,B or range(START,STOP)"
    ),
    r"Could not delete '([\w/]+)'": (
        r"~\1 is no setting to leave out: give another choice, \1=CHOICE"
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
    r".*node `([\w.]+)` is not a container": r"\1 is no single value: give \1.KEY=VALUE",
}
_TWICE = re.compile(r"(?:Multiple values for )?([\w/]+)(?:\. To over| appears more than once)")


def with_next_step(line: str, error: BaseException, arguments: Iterable[str]) -> str:
    """Complete a line of Hydra's that says what is wrong and not what to do."""
    if twice := _TWICE.match(line):
        return _twice(twice[1], arguments)
    for pattern, said in _NEXT_STEPS.items():
        if found := re.match(pattern, line):
            return found.expand(said)
    if line.startswith("Ambiguous value"):
        name = line.partition("'")[2].partition("=")[0]
        if name == "logger":
            return f"{line}: {LOGGERS}"
        listed = ", or brackets for a list" if "." in name else ""
        return f"{line}: give -m to run each{listed}"
    cause = error.__cause__
    if line.startswith("Error merging override") and isinstance(cause, OmegaConfBaseException):
        return f"{line} ({first_line(cause)}): give another value"
    return line


def _twice(name: str, arguments: Iterable[str]) -> str:
    added = any(one.startswith((f"+{name}=", f"++{name}=")) for one in arguments)
    how = f"{name}=CHOICE, without +" if added else f"'- override /{name}: CHOICE' in the file"
    return f"{name} has its choice already: give {how}"
