"""What does not fit together is refused in one line, before anything is read or trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import robustbench_kd
from robustbench_kd.core import registry
from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadModel, Incompatible, RobustbenchError, SaveFailed
from robustbench_kd.core.registry import board_of, boards_of, home_board
from robustbench_kd.core.seed import Seed
from robustbench_kd.evaluation.plan import EvalPlan
from robustbench_kd.evaluation.trained_models import ModelSource
from robustbench_kd.results.artifacts import find_model
from robustbench_kd.scenarios.digits import Digits

DEFENSES = list(registry.entries("defenses"))
PANEL = board_of("digits-linf").attacks


@pytest.fixture(autouse=True)
def nothing_is_spent(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """No model is looked for, and no file is written, by any test of this file."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was asked for before everything was refused")

    for name in ("student", "teacher", "supernet"):
        monkeypatch.setattr(ModelSource, name, refuse)
    yield
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("ard", {"board": "digits-linfty"}, "no leaderboard named .*Did you mean 'digits-linf'"),
    ("arde", {}, "no defense named 'arde'. Did you mean 'ard'"),
    ("ard:alfa=1", {}, "ard has no setting 'alfa'. Did you mean 'alpha'"),
    ("ard", {"attacks": ["fgms"]}, "no attack named 'fgms'. Did you mean 'fgsm'"),
    # a defense on a leaderboard that cannot hold it
    (
        "swing",
        {"board": "fashion-linf"},
        "swing works on text, and fashion-linf holds images. Leaderboards that run it: text-priv",
    ),
    (
        "ard",
        {"board": "text-privacy"},
        "ard works on images, and text-privacy holds text. Leaderboards that run it: fashion-lin",
    ),
    (
        "fine-tuning",
        {"board": "digits-linf"},
        "repairs a poisoned model, and digits-linf runs attacks on test data only.*fashion-back",
    ),
    (
        "trades",
        {"board": "fashion-backdoor"},
        "trades has no teacher, and the attacks of fashion-backdoor poison the teacher's.*fashion-"
        "linf, digits-linf",
    ),
    # attacks that control something else
    (
        "ard",
        {"board": "digits-linf", "attacks": ["badnets"]},
        "badnets changes .*_train_data, and digits-linf runs attacks on test data only.*badnets: "
        "digits-backdoor, fashion-backdoor, fashion-poisoning",
    ),
    (
        "distillation",
        {"board": "digits-backdoor", "attacks": ["fgsm"]},
        "fgsm changes test inputs only, and digits-backdoor runs attacks on teacher_train_data",
    ),
    (
        "distillation",
        {"board": "digits-backdoor", "attacks": ["badnets:capability=student_train_data"]},
        "changes student_train_data, and digits-backdoor runs attacks on teacher_train_data",
    ),
    (
        "distillation",
        {"board": "digits-privacy", "attacks": ["membership-inference:shadows=2"]},
        "digits-privacy runs canary-exposure:.* on one student; leave out --attack",
    ),
    # options of attacks on test data
    ("distillation", {"board": "digits-backdoor", "limit": 9}, "--limit is for attacks on test"),
    ("distillation", {"board": "digits-backdoor", "limit": 0}, "--limit is for attacks on test"),
    ("distillation", {"board": "digits-backdoor", "eps": 0.1}, "--eps is for attacks on test"),
    (
        "distillation",
        {"board": "digits-backdoor", "full_test": True},
        "--full-test is for attacks on test data; digits-backdoor runs attacks on training data",
    ),
    ("ard", {"board": "digits-linf", "limit": 0}, "limit must be at least 1, not 0"),
    ("ard", {"board": "digits-linf", "eps": -0.1}, "eps must be a finite number of at least 0"),
    (
        "ard",
        {"board": "digits-linf", "attacks": ["fgsm", "pgd:eps=0.2"]},
        "fgsm moves within .* and pgd:eps=0.2 within .*a worst case needs one budget",
    ),
    (
        "ard",
        {"board": "digits-linf", "starting_points": {"student_from": "gpt2"}},
        "digits has no --student-from: its networks are its own",
    ),
]


@pytest.mark.parametrize(("defense", "options", "says"), REFUSALS)
def test_what_does_not_fit_is_refused_in_one_line(
    defense: str, options: dict[str, Any], says: str
) -> None:
    for train in (False, True):
        with pytest.raises(RobustbenchError, match=says) as caught:
            robustbench_kd.evaluate(defense, train=train, **options)
        assert "\n" not in str(caught.value)


def test_a_model_of_ones_own_is_refused_where_students_are_trained_on_poisoned_data() -> None:
    with pytest.raises(RobustbenchError, match="--model and --net are for attacks on test data"):
        robustbench_kd.evaluate(nn.Identity(), board="digits-backdoor")


def test_a_scenario_whose_models_lack_what_an_attack_needs_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class AnswersOnly:
        def answer(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.flatten(1).argmax(1)

        def example_losses(self, examples: Any) -> torch.Tensor:
            return torch.zeros(len(examples))

    monkeypatch.setattr(Digits, "target_model", lambda *_: AnswersOnly())
    with pytest.raises(Incompatible, match="fgsm needs a WhiteBoxModel, and digits offers none"):
        robustbench_kd.evaluate("ard", board="digits-linf")


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SaveFailed, match="is not a folder"):
        robustbench_kd.evaluate("no such defense", out=tmp_path / "file" / "x")


@pytest.mark.parametrize(
    "attack", ["badnets:rate=0.0001", "badnets:target=10", "badnets:size=9", "badnets:rate=0"]
)
def test_data_that_do_not_allow_an_attack_are_refused_before_a_teacher_is_trained(
    attack: str,
) -> None:
    says = "poisons none of 1200 images|no class 10|larger than the image|share of the training set"
    with pytest.raises(RobustbenchError, match=says):
        robustbench_kd.evaluate(
            "distillation", board="digits-backdoor", attacks=[attack], train=True
        )


@pytest.mark.parametrize("name", DEFENSES)
def test_every_defense_has_a_home_leaderboard_where_its_plan_can_be_made(name: str) -> None:
    """Thirteen of them once failed without ``--board``."""
    plan = EvalPlan.of(name)
    assert plan.board.name == home_board(name)
    assert plan.groups
    labels = [text for text in plan.board.defenses if text.partition(":")[0] == name]
    assert labels or plan.board.name == registry.MAIN


def test_home_is_the_main_leaderboard_then_test_data_then_the_rest_and_digits_last() -> None:
    assert home_board("ard") == "fashion-linf"
    assert boards_of("ard")[0] == "fashion-linf"
    assert home_board("swing") == "text-privacy"
    assert home_board("fine-tuning") == "fashion-backdoor"
    assert home_board("transfer-learning") == "digits-poisoning"
    assert home_board("skd-cag") == "t2i-backdoor"


def test_attacks_on_test_data_share_a_student_and_poisoning_attacks_have_one_each() -> None:
    evasion = EvalPlan.of("ard", board="digits-linf", attacks=["fgsm"])
    assert [list(group) for group in evasion.groups] == [["clean", "fgsm"]], "the control is added"
    assert [list(g) for g in EvalPlan.of("ard", board="digits-linf").groups] == [list(PANEL)]
    backdoors = EvalPlan.of("ard", board="fashion-backdoor")
    assert [list(group) for group in backdoors.groups] == [["badnets"], ["blend"]]
    assert len(EvalPlan.of("distillation", board="fashion-backdoor").groups) == 10
    joint = EvalPlan.of("distillation", board="digits-privacy")
    assert [len(group) for group in joint.groups] == [2]


def test_another_radius_is_that_of_the_attacks_and_not_of_the_student() -> None:
    plan = EvalPlan.of("ard", board="digits-linf", eps=0.05)
    assert plan.budget == Budget("linf", 0.05)
    assert plan.source.board.budget == Budget("linf", 0.1)
    assert all(
        attack.threat.budget in (None, plan.budget)
        for group in plan.groups
        for attack in group.values()
    )


def test_a_limit_takes_the_first_test_samples_of_attacks_on_test_data() -> None:
    whole = EvalPlan.of("ard", board="digits-linf")
    part = EvalPlan.of("ard", board="digits-linf", limit=7)
    assert torch.equal(part.data().test.ids, whole.data().test.ids[:7])
    assert len(whole.data().train) == 0
    assert len(EvalPlan.of("ard", board="digits-linf", limit=10**6).data().test) == 500


def test_privacy_of_images_sees_the_whole_data_set_and_the_packaged_test_samples() -> None:
    data = EvalPlan.of("distillation", board="digits-privacy").data()
    packaged = Digits().splits(Seed(), whole=False).test
    assert len(data.validation) == 97
    assert torch.equal(data.test.ids, packaged.ids)


def test_models_that_are_not_stored_are_asked_for_by_the_command_that_trains_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    assert find_model("0" * 64) is None
    with pytest.raises(BadModel, match=r"robustbench-kd train --defense ard:alpha=0\.3 --board di"):
        robustbench_kd.evaluate("ard:alpha=0.3", board="digits-linf")
    with pytest.raises(BadModel, match=r"distillation.* is stored; add --train to train it now"):
        robustbench_kd.evaluate("distillation", board="digits-backdoor")
