"""What our own source may not call."""

import ast
import functools
import re
from pathlib import Path

import bitstill

SOURCE = Path(bitstill.__file__).parent


@functools.cache
def trees() -> list[tuple[Path, ast.AST]]:
    folders = (SOURCE, SOURCE.parent / "hydra_plugins")
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return [(path, ast.parse(path.read_text())) for path in paths]


def called(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


# What counts processors, and an error that numba raises.
HARMLESS = (
    "from joblib import cpu_count",
    "from joblib import effective_n_jobs",
    "from pickle import UnpicklingError",
)


def test_the_source_has_no_eval_and_no_pickle() -> None:
    modules = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
    calls = ("eval", "exec", "compile", "__import__", "os.system", "yaml.load", "yaml.unsafe_load")
    for path, tree in trees():
        for node in ast.walk(tree):
            assert called(node) not in calls, path
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            used = {name.partition(".")[0] for name in names} & modules
            assert not used or ast.unparse(node) in HARMLESS, path


def test_readers_that_could_unpickle_are_told_not_to() -> None:
    wanted = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
    seen = set()
    for path, tree in trees():
        for node in ast.walk(tree):
            if called(node) in wanted:
                assert isinstance(node, ast.Call)
                given = {
                    one.arg: one.value.value
                    for one in node.keywords
                    if isinstance(one.value, ast.Constant)
                }
                option, value = wanted[called(node)]
                assert given.get(option) is value, f"{path}:{node.lineno}"
                seen.add(called(node))
    assert seen == set(wanted)


def test_subprocesses_have_no_shell() -> None:
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node).startswith("subprocess."):
                assert "shell" not in {one.arg for one in node.keywords}, path
                assert not isinstance(node.args[0], ast.Constant | ast.JoinedStr), path


def test_modules_are_run_without_the_current_folder() -> None:
    """With -m alone Python would import from there first."""
    seen = 0
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.List | ast.Tuple):
                parts = [ast.unparse(one) for one in node.elts]
                if "sys.executable" in parts and "'-m'" in parts:
                    assert "'-P'" in parts, f"{path}:{node.lineno}"
                    seen += 1
    assert seen


# What is allowed of ruff's security rules, and nothing else: asserts for the type checker (S101),
# commands that are lists (S603), and our own style sheet in our own page (S704).
EXCEPTIONS = {"S101", "S603", "S704"}


def test_the_exceptions_from_security_rules_are_known() -> None:
    for path, _ in trees():
        for found in re.findall(r"noqa: ([A-Z0-9, ]+)", path.read_text()):
            rules = {one.strip() for one in found.split(",")}
            assert {rule for rule in rules if re.match(r"S\d", rule)} <= EXCEPTIONS, path
