"""What every leaderboard keeps to; a new file is under these laws at once."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from robustbench_kd.core import registry
from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.registry import board_of
from robustbench_kd.evaluation.attack_runner import attack_of
from robustbench_kd.evaluation.fingerprints import (
    defense_of,
    label_of,
    reachable,
    refuse,
    scenario_of,
    student_card,
)

NAMES = list(registry.entries("leaderboards"))


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
    ground = scenario_of(board.scenario)
    for text in board.defenses:
        refuse(ground, defense_of(text), board)


@pytest.mark.parametrize("name", NAMES)
def test_its_panel_starts_with_the_control_and_every_attack_parses(name: str) -> None:
    board = board_of(name)
    planted = board.door != "input"
    assert (board.panel[0] == "untouched") != planted, "planted boards have twins for a control"
    assert len(set(board.panel)) == len(board.panel) > (0 if planted else 1)
    for text in (*board.panel, *board.wide):
        attack_of(text, board)


@pytest.mark.parametrize("name", NAMES)
def test_every_attack_of_its_panel_moves_within_its_ball(name: str) -> None:
    board = board_of(name)
    for text in board.panel[1:] if board.door == "input" else ():
        assert attack_of(text, board).threat.budget == board.budget


@pytest.mark.parametrize("name", NAMES)
def test_every_attack_of_its_panel_comes_in_by_its_door(name: str) -> None:
    board = board_of(name)
    for text in board.panel:
        assert attack_of(text, board).threat.door == board.door


@pytest.mark.parametrize("name", NAMES)
def test_a_defense_is_tried_on_attacks_of_the_panel_that_can_reach_it(name: str) -> None:
    board = board_of(name)
    assert set(board.tried) <= set(board.defenses)
    assert all(set(texts) <= set(board.panel) for texts in board.tried.values())
    for text in board.defenses if board.door != "input" else ():
        reachable(board, defense_of(text))


@pytest.mark.parametrize("name", NAMES)
def test_what_it_asks_of_the_whole_test_set_it_asks_of_the_slice_too(name: str) -> None:
    board = board_of(name)
    assert set(board.wide) <= set(board.panel)
    assert not board.wide or board.wide[0] == "untouched"


@pytest.mark.parametrize("name", NAMES)
def test_its_defenses_are_written_as_their_labels_and_differ(name: str) -> None:
    """A record is found on the board by its label, so there is one way to write it."""
    board = board_of(name)
    assert [label_of(defense_of(text)) for text in board.defenses] == list(board.defenses)
    assert len(set(board.defenses)) == len(board.defenses) > 0
    # Behind the teacher's door the undistilled control is asked in every record.
    beside = board.door == "teacher data"
    assert ("labels" in board.defenses) != beside, "the undistilled control is missing"


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_given_for_defenses_that_stand_on_it(name: str) -> None:
    board = board_of(name)
    assert set(board.more_seeds) <= {*board.defenses, *board.panel}
    for defense in board.defenses:
        seeds = board.seeds_of(defense)
        assert len(set(seeds)) == len(seeds) > 0
        assert set(board.seeds) <= set(seeds)


@pytest.mark.parametrize("name", NAMES)
def test_every_student_has_a_key_of_its_own(name: str) -> None:
    board = board_of(name)
    ground = scenario_of(board.scenario)
    keys = [
        student_card(board, ground, defense_of(text), seed)["key"]
        for text in board.defenses
        for seed in board.seeds_of(text)
    ]
    assert len(set(keys)) == len(keys)
