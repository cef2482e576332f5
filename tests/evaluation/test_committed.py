"""What ships is what it says: every committed record replays, and the boards are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robustbench_kd.core import registry
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import board_of
from robustbench_kd.evaluation.fingerprints import defense_of, label_of, scenario_of, teacher_card
from robustbench_kd.evaluation.reasking import verify_planted
from robustbench_kd.evaluation.reprobing import verify_probed
from robustbench_kd.evaluation.verification import verify
from robustbench_kd.reports.formats.markdown_latex import as_markdown
from robustbench_kd.reports.leaderboard import fold
from robustbench_kd.results.artifacts import find_net
from robustbench_kd.results.probed import SCHEMA
from robustbench_kd.results.store import (
    exhibit_name,
    is_planted,
    kind_of,
    load_planted,
    load_probed,
    load_record,
    load_records,
    read_planted,
    read_probed,
)

BOARDS = sorted(registry.entries("leaderboards"))
EVERY = sorted(shipped("records").rglob("*.json"))
PROBED = [path for path in EVERY if kind_of(path) == SCHEMA]
PLANTED = [path for path in EVERY if is_planted(path)]
PATHS = [path for path in EVERY if path not in {*PROBED, *PLANTED}]
EVASION = [name for name in BOARDS if board_of(name).door == "input"]
# What is tried on digits-backdoor is trained in seconds, so nothing of it ships.
BEHIND_DOORS = sorted({read_planted(path).board for path in PLANTED})
COLUMNS = "rank,defense,robust,clean,fgsm,pgd,carlini-wagner-linf,autoattack"
README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_committed_record_replays_in_one_forward_pass(path: Path) -> None:
    record = load_record(path)
    replay = verify(path)
    assert replay.robust == record.worst.hits
    assert replay.broken + replay.robust == record.clean.hits
    assert replay.forward == record.worst.count + replay.broken


@pytest.mark.parametrize("path", PLANTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_network_of_a_planted_record_answers_as_it_says(path: Path) -> None:
    record, again = read_planted(path), verify_planted(path)
    assert again.networks == len(record.subjects)
    assert again.inputs == record.data["count"] + record.wins


@pytest.mark.parametrize("path", PROBED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_networks_of_a_probed_record_ship(path: Path) -> None:
    """Asking all of them again takes a minute a record: ``robustbench-kd verify`` does it."""
    for name, known in read_probed(path).subjects.items():
        kept = find_net(known.key) if known.key else None
        if name != "untouched" and kept is not None:
            assert kept.shipped
            assert kept.card["weights"] == known.weights
        else:  # it is a foundation, which ships with the ground
            assert name in ("untouched", "teacher-public", "teacher-twin") or name.endswith("twin)")


@pytest.mark.parametrize("name", ["text-privacy", "text-transfer", "text-bias"])
def test_a_probed_record_of_each_board_is_confirmed(name: str) -> None:
    pytest.importorskip("transformers")
    first = next(path for path in PROBED if path.parent.name == name)
    assert verify_probed(first, canaries=6).marginal <= 3


@pytest.mark.parametrize("name", sorted({read_probed(path).board for path in PROBED}))
def test_every_defense_of_a_probed_board_has_its_records(name: str) -> None:
    board = board_of(name)
    wanted = {
        ("+".join(texts), defense, seed)
        for defense in board.defenses
        for texts in (
            [board.panel]
            if board.together
            else [(text,) for text in board.tried.get(defense, board.panel)]
        )
        for seed in board.seeds_of(defense)
    }
    found = [("+".join(r.attacks), r.label, r.seed) for r in load_probed(board=name)]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("name", BEHIND_DOORS)
def test_every_defense_is_tried_on_the_attacks_that_its_board_names(name: str) -> None:
    board = board_of(name)
    wanted = {
        (text, defense, seed)
        for defense in board.defenses
        for text in board.tried.get(defense, board.panel)
        for seed in board.seeds_of(defense)
    }
    found = [(r.attack, r.label, r.seed) for r in load_planted(board=name)]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("name", EVASION)
def test_every_defense_of_a_board_has_its_records_under_all_its_seeds(name: str) -> None:
    board = board_of(name)
    wanted = {(label_of(defense_of(d)), s) for d in board.defenses for s in board.seeds_of(d)}
    found = [(record.label, record.seed) for record in load_records(board=name)]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("name", EVASION)
def test_every_committed_record_enters_its_board(name: str) -> None:
    board = fold(board_of(name), load_records(board=name))
    assert [reason for _, reason in board.outside] == []


@pytest.mark.parametrize("name", EVASION)
def test_the_teachers_of_a_board_ship(name: str) -> None:
    scenario = scenario_of(board_of(name).scenario)
    for role in scenario.teaching:
        kept = find_net(teacher_card(scenario, role)["key"])
        assert kept is not None
        assert kept.shipped


def test_what_ships_is_small() -> None:
    students = list(shipped("students").glob("*.safetensors"))
    assert max(path.stat().st_size for path in students) < 3_000_000
    evidence = list(shipped("records").rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in evidence) < 20_000_000
    beside = {(path.parent, exhibit_name(read_planted(path))) for path in PLANTED}
    assert len(evidence) == len(PATHS) + len(beside)


def test_the_leaderboard_in_the_readme_is_the_one_of_the_records() -> None:
    found = re.search(
        r"<!-- leaderboard -->\n(.*?)\n<!-- /leaderboard -->", README.read_text(), re.DOTALL
    )
    assert found
    board = fold(board_of("fashion-linf"), load_records(board="fashion-linf"))
    assert found[1].strip() == as_markdown(board, COLUMNS.split(",")).strip()
