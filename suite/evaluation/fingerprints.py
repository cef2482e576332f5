"""What determines a teacher, a student, a supernet: recipes, whose digests are their keys.

Digests are made from the names of the first release (``core.aliases``), written out here, so that
renaming a field or an entry changes no key of a trained network.
"""

from __future__ import annotations

from typing import cast

from robustbench_kd.core import options
from robustbench_kd.core.aliases import stable_name, stable_settings
from robustbench_kd.core.config import (
    REACHES_STUDENT,
    REACHES_TEACHER,
    AdamW,
    Budget,
    Leaderboard,
    Schedule,
)
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Defense, Scenario, TrainsSupernet
from robustbench_kd.evaluation.composite_attack import model_editor
from robustbench_kd.evaluation.entries import control, label_of
from robustbench_kd.evaluation.poisoned_data import DataPoisoning
from robustbench_kd.results.record import Json, digest

GIVEN = "given"  # the role, and the kind of network, of what a repair is given
UNPOISONED = "unpoisoned"  # the role of that network before it was poisoned; for oracles
RECIPES = 1  # raised whenever training makes another network of the same settings
STABLE_ROLES = {UNPOISONED: "twin"}


def teacher_recipe(
    scenario: Scenario,
    role: str,
    board: Leaderboard | None = None,
    seed: int = 0,
    poisoning: DataPoisoning | None = None,
) -> Json:
    """What determines a teacher; its digest is the key.

    Args:
        board: whose schedules count, where they are its own; where attacks poison training data,
            teachers have seeds too, and are rounded to float16, so that all of them can ship.

    Raises:
        BadSetting: where the scenario has no such teacher.
    """
    pretrained = role in pretrained_roles(scenario)
    if role not in scenario.teacher_schedules and not pretrained:
        known = ", ".join((*scenario.teacher_schedules, *pretrained_roles(scenario))) or "none"
        raise BadSetting(f"{scenario.name} has no {role!r} teacher; it has: {known}")
    recipe = {
        "what": "teacher",
        "recipes": RECIPES,
        "scenario": stable_name("scenarios", scenario.name),
        "edition": scenario.dataset_digest,
        "role": role,
        "net": scenario.architectures["teacher"],
        "schedule": {} if pretrained else _schedule(teacher_schedule(scenario, role, board)),
    }
    title = f"{scenario.name}--teacher-{role}"
    if pretrained and (poisoning is None or model_editor(poisoning.attack) is None):
        # It was trained before anything was poisoned.
        return {**recipe, "key": digest(recipe), "title": title}
    if board is not None and board.poisons:
        recipe |= {"seed": seed, "half": True}
        title += f"--{poisoning.label if poisoning else 'clean'}--seed{seed}"
    if poisoning is not None:
        recipe["taint"] = poisoning.key
    return {**recipe, "key": digest(recipe), "title": title}


def student_recipe(
    board: Leaderboard,
    scenario: Scenario,
    defense: Defense,
    seed: int,
    poisoning: DataPoisoning | None = None,
) -> Json:
    """What determines a student: budget, schedule, defense, settings, teachers, data and seed."""
    recipe = {
        "what": "student",
        "recipes": RECIPES,
        "scenario": stable_name("scenarios", scenario.name),
        "edition": scenario.dataset_digest,
        "net": defense.net if defense.net == GIVEN else scenario.architectures[defense.net],
        "budget": _budget(board.budget),
        "schedule": _schedule(board.schedule),
        "defense": stable_name("defenses", defense.name),
        "settings": stable_settings(defense.name, options.written(defense)),
        "teachers": {
            STABLE_ROLES.get(role, role): role_recipe(board, scenario, role, seed, poisoning)["key"]
            for role in defense.teacher_roles
        },
        "seed": seed,
    }
    title = f"{board.name}--{label_of(defense)}"
    if board.poisons:
        recipe["half"] = True
        title += f"--{poisoning.label if poisoning else 'clean'}"
    if poisoning is not None and board.capability in REACHES_STUDENT:
        recipe["taint"] = poisoning.key
    title += f"--seed{seed}"
    return {**recipe, "key": digest(recipe), "title": title}


def role_recipe(
    board: Leaderboard,
    scenario: Scenario,
    role: str,
    seed: int,
    poisoning: DataPoisoning | None,
) -> Json:
    """The recipe of what a defense needs: a teacher, or the network that it is given to repair.

    A repair is given what the adversary reached: the clean-role teacher where it controls teachers'
    data, else the undistilled student. An oracle also asks that teacher before it was poisoned.
    """
    if role == UNPOISONED:
        return teacher_recipe(scenario, "clean", board, seed)
    if role == GIVEN and board.capability not in REACHES_TEACHER:
        return student_recipe(board, scenario, control(), seed, poisoning)
    reached = poisoning if board.capability in REACHES_TEACHER else None
    role = "clean" if role == GIVEN else role
    return teacher_recipe(scenario, role, board, seed, reached)


def supernet_recipe(
    board: Leaderboard,
    scenario: Scenario,
    defense: TrainsSupernet,
    seed: int,
    poisoning: DataPoisoning | None = None,
) -> Json:
    """What determines a supernet: its training, and nothing that only chooses a subnet."""
    student = student_recipe(board, scenario, cast(Defense, defense), seed, poisoning)
    recipe = {name: value for name, value in student.items() if name not in ("key", "title")}
    recipe |= {"what": "family", "settings": defense.supernet_settings()}
    title = f"{board.name}--{student['defense']}-{recipe['settings']['sampler']}-family"
    title += (f"--{poisoning.label}" if poisoning else "") + f"--seed{seed}"
    return {**recipe, "key": digest(recipe), "title": title}


def pretrained_roles(scenario: Scenario) -> tuple[str, ...]:
    """The roles of teachers that come with the scenario, and that nobody trains here."""
    roles: tuple[str, ...] = getattr(scenario, "pretrained_roles", ())
    return roles


def teacher_schedule(scenario: Scenario, role: str, board: Leaderboard | None) -> Schedule:
    """How a teacher is trained: as the leaderboard says, or else the scenario."""
    usual = scenario.teacher_schedules[role]
    return usual if board is None else board.teacher_schedules.get(role, usual)


def _budget(budget: Budget) -> Json:
    return {"kind": budget.kind, "amount": budget.amount}


def _schedule(schedule: Schedule) -> Json:
    values = {
        "epochs": schedule.epochs,
        "batch": schedule.batch,
        "rate": schedule.learning_rate,
        "decay": schedule.weight_decay,
        "momentum": schedule.momentum,
        "warm": schedule.warmup,
    }
    return values | ({"second": schedule.beta2} if isinstance(schedule, AdamW) else {})
