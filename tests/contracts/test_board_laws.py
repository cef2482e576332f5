"""What every leaderboard keeps to; a new file is under these laws at once."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from robustbench_kd.core import registry
from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.registry import board_of, configured
from robustbench_kd.evaluation.compatibility import expect_attack_fits, expect_defense_fits
from robustbench_kd.evaluation.entries import (
    CONTROL,
    attack_of,
    defense_of,
    label_of,
    scenario_of,
)
from robustbench_kd.evaluation.fingerprints import student_recipe
from robustbench_kd.evaluation.plan import EvalPlan
from robustbench_kd.results.record import CLEAN

NAMES = list(registry.entries("leaderboards"))
ROLES = {"teacher", "control", "student", "pretrained"}


@pytest.mark.parametrize("name", NAMES)
def test_it_bears_the_name_of_its_file(name: str) -> None:
    board = board_of(name)
    assert isinstance(board, Leaderboard)
    assert board.name == name
    assert board.title.strip()
    assert registry.find("leaderboards", name).summary()
    assert json.loads(json.dumps(asdict(board), allow_nan=False))["name"] == name


@pytest.mark.parametrize("name", NAMES)
def test_its_scenario_is_known_and_takes_each_of_its_defenses(name: str) -> None:
    board = board_of(name)
    scenario = scenario_of(board.scenario)
    for text in board.defenses:
        expect_defense_fits(scenario, defense_of(text), board)


@pytest.mark.parametrize("name", NAMES)
def test_an_evaluation_on_it_can_be_planned(name: str) -> None:
    board = board_of(name)
    text = board.defenses[0]
    plan = EvalPlan.of(text, board=name)
    assert plan.described()["label"] == text
    assert [label for group in plan.groups for label in group] == list(board.attacks_on(text))


@pytest.mark.parametrize("name", NAMES)
def test_its_panel_starts_with_the_control_where_no_model_has_a_clean_counterpart(
    name: str,
) -> None:
    """Attacks on training data have clean counterparts, or zero repetitions, for a control."""
    board = board_of(name)
    assert (board.attacks[0] == CLEAN) != board.poisons
    assert len(set(board.attacks)) == len(board.attacks) > (0 if board.poisons else 1)
    for text in (*board.attacks, *board.full_test_attacks):
        attack_of(text, board)


@pytest.mark.parametrize("name", NAMES)
def test_every_attack_of_its_panel_moves_within_its_ball(name: str) -> None:
    board = board_of(name)
    for text in () if board.poisons else board.attacks[1:]:
        assert attack_of(text, board).threat.budget in (None, board.budget)


@pytest.mark.parametrize("name", NAMES)
def test_every_attack_of_its_panel_controls_what_it_is_about_and_has_a_scorer(name: str) -> None:
    board = board_of(name)
    for text in board.attacks:
        attack = attack_of(text, board)
        assert attack.threat.capability == board.capability
        expect_attack_fits(text, attack, board)


@pytest.mark.parametrize("name", NAMES)
def test_attacks_that_poison_one_training_set_are_all_decided_by_labels_or_none_is(
    name: str,
) -> None:
    """Such a record holds one kind of clean column: correct answers, or losses."""
    board = board_of(name)
    scorers = [attack_of(text, board).threat.scorer for text in board.attacks]
    assert not board.joint or len({scorer == "classification" for scorer in scorers}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_defense_is_evaluated_under_attacks_of_the_panel(name: str) -> None:
    board = board_of(name)
    assert set(board.attacks_by_defense) <= set(board.defenses)
    assert all(set(texts) <= set(board.attacks) for texts in board.attacks_by_defense.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_it_runs_on_the_whole_test_set_it_runs_on_the_slice_too(name: str) -> None:
    board = board_of(name)
    assert set(board.full_test_attacks) <= set(board.attacks)
    assert not board.full_test_attacks or board.full_test_attacks[0] == CLEAN


@pytest.mark.parametrize("name", NAMES)
def test_its_defenses_are_written_as_their_labels_and_differ(name: str) -> None:
    """A record is found on the leaderboard by its label, so there is one way to write it."""
    board = board_of(name)
    assert [label_of(defense_of(text)) for text in board.defenses] == list(board.defenses)
    assert len(set(board.defenses)) == len(board.defenses) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_undistilled_control_is_a_defense_or_one_of_the_compared_models(name: str) -> None:
    """Where the poison reaches the teacher alone, it is queried in every record; repairs of a
    network that is given have that network in its place.
    """
    board = board_of(name)
    if board.capability == "teacher_train_data":
        assert CONTROL not in board.defenses
        repairs = all(defense_of(text).net == "given" for text in board.defenses)
        assert "control" in board.models or repairs
    else:
        assert CONTROL in board.defenses


@pytest.mark.parametrize("name", NAMES)
def test_it_compares_models_that_there_are(name: str) -> None:
    board = board_of(name)
    assert board.clean_counterparts is not None
    assert "student" in board.models
    assert set(board.models) <= ROLES
    assert set(board.clean_counterparts) <= set(board.models) - {"pretrained"}
    assert board.poisons or board.models == ("student",)


@pytest.mark.parametrize("name", NAMES)
def test_its_metrics_can_be_configured_and_differ_and_one_of_them_ranks(name: str) -> None:
    board = board_of(name)
    metrics = [configured("metrics", text) for text in board.metrics]
    assert len(set(metrics)) == len(metrics) > 0
    assert board.rank_by in board.metrics
    assert len({metric.heading for metric in metrics}) == len(metrics)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_given_for_defenses_that_stand_on_it(name: str) -> None:
    board = board_of(name)
    assert set(board.seeds_by_defense) <= set(board.defenses)
    for defense in board.defenses:
        seeds = board.seeds_of(defense)
        assert len(set(seeds)) == len(seeds) > 0
        assert set(board.seeds) <= set(seeds)


@pytest.mark.parametrize("name", NAMES)
def test_every_student_has_a_key_of_its_own(name: str) -> None:
    board = board_of(name)
    scenario = scenario_of(board.scenario)
    keys = [
        student_recipe(board, scenario, defense_of(text), seed)["key"]
        for text in board.defenses
        for seed in board.seeds_of(text)
    ]
    assert len(set(keys)) == len(keys)
