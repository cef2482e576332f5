"""Keys of trained networks: what is renamed or added later must not change one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from robustbench_kd.core.config import REACHES_STUDENT, REACHES_TEACHER, AdamW, Schedule
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import board_of
from robustbench_kd.evaluation.entries import attack_of, control, defense_of, scenario_of
from robustbench_kd.evaluation.fingerprints import (
    role_recipe,
    student_recipe,
    supernet_recipe,
    teacher_recipe,
)
from robustbench_kd.evaluation.poisoned_data import DataPoisoning
from robustbench_kd.results.artifacts import find_model
from robustbench_kd.results.record import COUNTERPART, Record
from robustbench_kd.results.store import load_records

COMMITTED = sorted(path.name for path in shipped("records").iterdir() if path.is_dir())
FASHION = board_of("fashion-linf")
SCENARIO = scenario_of("fashion-mnist")


def recipe_digests(record: Record) -> Iterator[tuple[str, str]]:
    """Key by role, from nothing but the names in a record."""
    board = board_of(record.board)
    scenario, defense = scenario_of(board.scenario), defense_of(record.label)
    attacks = {label: attack_of(label, board) for label in record.attack_labels}
    poisoning = DataPoisoning(scenario, attacks, record.seed) if board.poisons else None
    for role in record.models:
        poison = None if role.endswith(COUNTERPART) else poisoning
        plain = role.removesuffix(COUNTERPART)
        if plain == "student":
            yield role, student_recipe(board, scenario, defense, record.seed, poison)["key"]
        elif plain == "control":
            poison = poison if board.capability in REACHES_STUDENT else None
            yield role, student_recipe(board, scenario, control(), record.seed, poison)["key"]
        elif plain.startswith("teacher-") and board.poisons:
            name = plain.removeprefix("teacher-")
            yield role, role_recipe(board, scenario, name, record.seed, poison)["key"]
        else:
            yield role, ""  # what nobody trained here, and teachers that a student names itself


@pytest.mark.parametrize("board", COMMITTED)
def test_keys_of_all_committed_networks_follow_from_the_names_in_their_records(board: str) -> None:
    for record in load_records(board=board):
        if record.seed > 1:
            continue  # a seed is but a number in the recipe
        recorded = {role: model["recipe_digest"] for role, model in record.models.items()}
        assert dict(recipe_digests(record)) == recorded, f"{record.label}, seed {record.seed}"


def test_students_that_ship_are_found_by_these_keys() -> None:
    for label in ("ard", "proard:subnet=smallest", "mtard:balance=entropy"):
        recipe = student_recipe(FASHION, SCENARIO, defense_of(label), 0)
        stored = find_model(recipe["key"])
        assert stored is not None
        assert stored.shipped


def test_teachers_and_supernets_that_ship_are_found_by_these_keys() -> None:
    proard: Any = defense_of("proard")
    recipes = [teacher_recipe(SCENARIO, role) for role in ("clean", "robust")]
    for recipe in (*recipes, supernet_recipe(FASHION, SCENARIO, proard, 0)):
        stored = find_model(recipe["key"])
        assert stored is not None
        assert stored.metadata["key"] == recipe["key"]


def test_everything_that_changes_a_training_changes_its_key() -> None:
    def key(text: str = "ard", seed: int = 0, **changes: Any) -> str:
        board = replace(FASHION, **changes)
        digest: str = student_recipe(board, SCENARIO, defense_of(text), seed)["key"]
        return digest

    others = [
        key(),
        key("rslad"),
        key("ard:alpha=0.3"),
        key(seed=1),
        key(schedule=Schedule(epochs=6)),
        key(schedule=AdamW(epochs=5)),
        key(budget=replace(FASHION.budget, amount=0.2)),
        key(teacher_schedules={"robust": Schedule(epochs=1)}),
        key(capability="student_train_data"),
    ]
    assert len(set(others)) == len(others)


def test_what_changes_no_training_changes_no_key() -> None:
    plain = student_recipe(FASHION, SCENARIO, defense_of("ard"), 0)["key"]
    other = replace(FASHION, name="another", title="Another", attacks=("clean",), defenses=("ard",))
    assert student_recipe(other, SCENARIO, defense_of("ard"), 0)["key"] == plain
    elsewhere = scenario_of("fashion-mnist", "/another/folder")
    assert student_recipe(FASHION, elsewhere, defense_of("ard"), 0)["key"] == plain


def test_clean_teachers_of_attacks_on_test_data_serve_all_seeds_and_others_have_one_each() -> None:
    evasion, backdoor = board_of("digits-linf"), board_of("digits-backdoor")
    digits = scenario_of("digits")
    keys = [teacher_recipe(digits, "clean", evasion, seed)["key"] for seed in (0, 1)]
    assert keys == [teacher_recipe(digits, "clean")["key"]] * 2
    keys = [teacher_recipe(digits, "clean", backdoor, seed)["key"] for seed in range(3)]
    assert len(set(keys)) == 3


def test_one_poison_serves_teacher_and_student_and_settings_of_the_test_leave_it_alone() -> None:
    digits, board = scenario_of("digits"), board_of("digits-backdoor")

    def key(text: str, capability: str, seed: int = 0) -> str:
        attack = attack_of(text, replace(board, capability=capability))  # type: ignore[arg-type]
        return DataPoisoning(digits, {text: attack}, seed).key

    capabilities = dict.fromkeys((*REACHES_STUDENT, *REACHES_TEACHER))
    assert len({key("badnets", capability) for capability in capabilities}) == 1
    assert key("badnets", "teacher_train_data", 1) != key("badnets", "teacher_train_data")
    assert key("badnets:size=2", "teacher_train_data") != key("badnets", "teacher_train_data")
    images, pictures = scenario_of("text-to-image"), board_of("t2i-backdoor")
    keys = {
        DataPoisoning(images, {text: attack_of(text, pictures)}, 0).key
        for text in ("prompt-trigger", "prompt-trigger:tried=end", "prompt-trigger:count=9")
    }
    assert len(keys) == 1


def test_a_role_that_a_scenario_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(BadSetting, match="fashion-mnist has no 'wise' teacher; it has: clean, rob"):
        teacher_recipe(SCENARIO, "wise")
