"""Refusals: what does not fit together is said in one sentence before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import BadSetting, Incompatible
from robustbench_kd.core.protocols import AnyAttack, Defense, Scenario, TargetModel
from robustbench_kd.core.registry import board_of, boards_of, entries, find
from robustbench_kd.evaluation.entries import CONTROL
from robustbench_kd.evaluation.fingerprints import GIVEN, UNPOISONED, pretrained_roles

IMAGES = "images"  # the modality of scenarios and defenses that name none


def expect_defense_fits(scenario: Scenario, defense: Defense, board: Leaderboard) -> None:
    """Refuses a defense that cannot be trained or attacked on a leaderboard.

    Raises:
        BadSetting: where the modality is another one, or the poison cannot reach the student.
        Incompatible: where the scenario has no student of the kind, or no teacher of a role.
    """
    modality = getattr(scenario, "modality", IMAGES)
    modalities = getattr(defense, "modalities", (IMAGES,))
    if modality not in modalities:
        raise BadSetting(
            f"{defense.name} works on {' and '.join(modalities)}, and {board.name} holds "
            f"{modality}. {boards_for(defense.name)}"
        )
    if board.capability == "teacher_train_data" and not defense.teacher_roles:
        raise BadSetting(
            f"{defense.name} has no teacher, and the attacks of {board.name} poison the teacher's "
            f"training data, so nothing reaches its student; {CONTROL} is the undistilled control "
            f"there. {boards_for(defense.name)}"
        )
    repairs = board.poisons and defense.net == GIVEN
    if not repairs and defense.net not in scenario.architectures:
        if defense.net == GIVEN:
            raise BadSetting(
                f"{defense.name} repairs a poisoned model, and {board.name} runs attacks on test "
                f"data only. {boards_for(defense.name)}"
            )
        raise Incompatible(defense.name, f"a student of kind {defense.net!r}", scenario.name)
    known = (*scenario.teacher_schedules, *pretrained_roles(scenario))
    for role in defense.teacher_roles:
        if role not in known and not (role in (GIVEN, UNPOISONED) and repairs):
            raise Incompatible(defense.name, f"a {role} teacher", scenario.name)


def boards_for(defense: str) -> str:
    """The leaderboards that run a defense, in a sentence."""
    names = boards_of(defense)
    return f"Leaderboards that run it: {', '.join(names) or 'none'}."


def expect_attack_fits(text: str, attack: AnyAttack, board: Leaderboard) -> None:
    """Refuses an attack that controls something else than the attacks of a leaderboard.

    Raises:
        BadSetting: naming the leaderboards that run it.
        UnknownName: where no scorer can decide it.
    """
    if attack.threat.capability == board.capability:
        find("scorers", attack.threat.scorer).load()
        return
    changes = attack.threat.capability != "test_data"
    what = f"changes {attack.threat.capability}" if changes else "changes test inputs only"
    others = (
        f"runs attacks on {board.capability}" if board.poisons else "runs attacks on test data only"
    )
    names = [
        name
        for name in entries("leaderboards")
        if attack.name in {label.partition(":")[0] for label in board_of(name).attacks}
    ]
    raise BadSetting(
        f"{text} {what}, and {board.name} {others}. Leaderboards that run {attack.name}: "
        f"{', '.join(names) or 'none'}."
    )


def expect_model_fits(
    model: TargetModel, attacks: Mapping[str, AnyAttack], scenario: Scenario
) -> None:
    """Refuses attacks that need more than a model offers.

    Raises:
        Incompatible: before anything is spent.
    """
    for text, attack in attacks.items():
        if not isinstance(model, attack.requires):
            raise Incompatible(text, f"a {attack.requires.__name__}", scenario.name)


def expect_whole_panel(attacks: Mapping[str, AnyAttack], board: Leaderboard) -> None:
    """Refuses single attacks where all poison one training set.

    Raises:
        BadSetting: naming the panel.
    """
    if board.joint and set(attacks) != set(board.attacks):
        raise BadSetting(
            f"{board.name} runs {', '.join(board.attacks)} on one student; leave out --attack"
        )
