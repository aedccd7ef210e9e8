"""Losses of one's own, which installed packages offer."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Compose

from bitstill.configuration.check import check
from bitstill.errors import UserError
from bitstill.loss_inputs import loss_reads, own_loss, own_targets
from bitstill.runs.identity import identity

MARGIN = """
import torch.nn.functional as F
from torch import Tensor


def margin(logits: Tensor, labels: Tensor, *, temperature: float, margin: float) -> Tensor:
    handicap = margin * F.one_hot(labels, logits.shape[1])
    return F.cross_entropy((logits - handicap) / temperature, labels)
"""
Install = Callable[..., None]
OURS = "mine:margin"  # as a package names it
NODE = {"loss": {"_target_": "mine.margin", "_partial_": True, "margin": 0.5}}
SIGNATURE = "logits: Tensor, labels: Tensor, *, temperature: float, margin: float"


def test_a_signature_says_what_a_loss_takes(tmp_path: Path, install: Install) -> None:
    assert own_loss("margin") is None
    install(tmp_path, MARGIN, entry=OURS)
    own = own_loss("margin")
    assert own is not None
    assert (own.target, own.package) == ("mine.margin", ("mine", "1"))
    assert own.reads == {"labels", "temperature"}
    assert own.settings == (("margin", float),)
    assert own_targets() == ["mine.margin"]
    assert not loss_reads("margin", "teacher_logits")


def test_a_loss_of_ones_own_has_a_teacher_or_a_factor(tmp_path: Path, install: Install) -> None:
    """Annotations are not needed but for settings; the student's logits have any name."""
    install(tmp_path, "def margin(z, teacher_logits, soft_weight): ...\n", entry=OURS)
    assert loss_reads("margin", "teacher_logits")
    assert loss_reads("margin", "soft_weight")
    assert not loss_reads("margin", "labels")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            MARGIN.replace(SIGNATURE, "*, labels, margin: float"),
            r"takes \(\*, labels, margin: float\).*: give the student's logits first, and each",
        ),
        (MARGIN.replace(SIGNATURE, "labels, logits"), "give the student's logits first"),
        (MARGIN.replace(SIGNATURE, "logits, labels, **others"), "argument by its name"),
        (MARGIN.replace(SIGNATURE, ""), r"takes \(\)"),
        (
            MARGIN.replace("margin: float", "margin"),
            "takes margin: annotate it with one of bool, int, float, str",
        ),
        (MARGIN.replace("margin: float", "margin: Tensor"), "takes margin: annotate it"),
        (MARGIN.replace("margin: float", "margin: Tensr"), r"NameError: .*'Tensr'"),
        ("import nothing_there", "ModuleNotFoundError: .*: mend the package mine, or uninstall"),
        ("def other(): ...", r"AttributeError: module 'mine' has no attribute 'margin'"),
        ("from functools import partial\nmargin = partial(print)", r"TypeError: "),
        ("margin (", r"SyntaxError: "),
    ],
)
def test_what_is_no_loss_is_refused(tmp_path: Path, install: Install, text: str, said: str) -> None:
    install(tmp_path, text, entry=OURS)
    with pytest.raises(UserError, match=rf"^the loss mine\.margin .*{said}") as caught:
        own_loss("margin")
    assert "\n" not in str(caught.value)


def test_of_two_losses_of_a_name_none_is_taken(tmp_path: Path, install: Install) -> None:
    install(tmp_path, MARGIN, entry=OURS)
    install(tmp_path, MARGIN, name="other", entry="other:margin")
    with pytest.raises(UserError, match=r"^(mine and other|other and mine) offer a loss margin ea"):
        own_loss("margin")
    install(tmp_path, "def third(logits): ...", name="third", entry="third:third")
    assert own_loss("third") is not None


def test_one_of_the_name_of_ours_is_passed_over(
    tmp_path: Path, install: Install, changed: Compose
) -> None:
    install(tmp_path, "raise AssertionError\n", entry="mine:hard")
    assert not loss_reads("hard", "teacher_logits")
    with pytest.raises(UserError, match=r"^loss\._target_ = mine\.hard is not allowed"):
        check(changed({"loss._target_": "mine.hard"}))
    check(changed({}))


def test_a_configuration_is_checked_by_the_signature(
    tmp_path: Path, install: Install, changed: Compose
) -> None:
    with pytest.raises(UserError, match=r"^loss\._target_ = mine\.margin is not allowed"):
        check(changed(NODE))
    install(tmp_path, MARGIN, entry=OURS)
    config = check(changed(NODE))
    assert config.loss_name == "margin"
    assert config == check(changed(NODE))
    for values, said in (
        ({"loss.margin": "wide"}, r"^loss\.margin = 'wide' is not allowed: give a number$"),
        ({"loss.gamma": 2}, r"^loss\.gamma is not a setting: loss has margin$"),
        ({"loss._target_": "mine.margn"}, r"did you mean mine\.margin\?"),
        ({"loss._target_": "other.margin"}, r"^loss\._target_ = other\.margin is not allowed"),
    ):
        with pytest.raises(UserError, match=said):
            check(changed(NODE | values))
    with pytest.raises(UserError, match=r"^loss\.margin is not set: give loss\.margin=VALUE$"):
        check(changed(NODE, remove=("loss.margin",)))


def test_the_text_of_a_loss_decides_its_result(
    tmp_path: Path, install: Install, changed: Compose
) -> None:
    other = MARGIN.replace("logits - ", "logits + ")
    commented = MARGIN.replace("    handicap", "    # why\n    handicap")
    found = []
    for number, text in enumerate((MARGIN, other, commented)):
        install(tmp_path / str(number), text, version=str(number), entry=OURS)
        found.append(identity(check(changed(NODE)), "data"))
    assert found[0] == found[2] != found[1]
