"""What ships is what it says: committed records are confirmed, and leaderboards are complete."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from robustbench_kd.cli.main import main
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import board_of, entries
from robustbench_kd.evaluation.entries import attack_of, defense_of, label_of, scenario_of
from robustbench_kd.evaluation.fingerprints import pretrained_roles, teacher_recipe
from robustbench_kd.evaluation.verification import verify
from robustbench_kd.reports.admission import ORACLE
from robustbench_kd.reports.leaderboard import rank
from robustbench_kd.results.artifacts import find_model
from robustbench_kd.results.record import CLEAN, Bits, Record
from robustbench_kd.results.store import evidence_path, load_records, read_record

RECORDS = shipped("records")
README = Path(__file__).parents[2] / "README.md"
# Their models are trained in seconds, so nothing of them ships.
UNCOMMITTED = {"digits-backdoor", "digits-privacy"}
BOARDS = [name for name in entries("leaderboards") if name not in UNCOMMITTED]
TEST_TIME = [name for name in BOARDS if not board_of(name).poisons]
# Text is generated and ranked, and images are generated: a minute or more for each record.
GENERATED = [
    name
    for name in BOARDS
    if any(
        attack_of(text, board_of(name)).threat.scorer != "classification"
        for text in board_of(name).attacks
    )
]
POISONED = [name for name in BOARDS if name not in {*TEST_TIME, *GENERATED}]


def committed(boards: list[str]) -> list[Path]:
    """All records of these leaderboards, those in folders of their own among them."""
    return [path for name in boards for path in sorted((RECORDS / name).rglob("*.json"))]


def short_name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def value_count(record: Record) -> int:
    """Values in all columns of all models."""
    return sum(
        column.count if isinstance(column, Bits) else len(column)
        for result in record.attacks.values()
        for columns in result.columns.values()
        for column in columns.values()
    )


@cache
def pretrained_keys(scenario: str) -> set[str]:
    """Recipe digests of the models that ship with a scenario, and not among the students."""
    loaded = scenario_of(scenario)
    return {teacher_recipe(loaded, role)["key"] for role in pretrained_roles(loaded)}


def test_every_kind_of_leaderboard_has_committed_records() -> None:
    assert {path.name for path in RECORDS.iterdir()} == set(BOARDS)
    assert TEST_TIME == ["digits-linf", "fashion-linf"]
    assert POISONED == ["digits-poisoning", "fashion-backdoor", "fashion-poisoning"]
    assert GENERATED == ["t2i-backdoor", "text-bias", "text-privacy", "text-transfer"]


@pytest.mark.parametrize("path", committed(TEST_TIME), ids=short_name)
def test_a_record_of_test_time_attacks_is_confirmed_by_its_stored_inputs(path: Path) -> None:
    record, verification = read_record(path), verify(path)
    assert verification.robust == record.worst.hits
    assert verification.broken is not None
    assert verification.broken + verification.robust == record.clean.hits
    # Each clean input once, and each stored input that broke the student.
    assert verification.values == record.worst.count + verification.broken


@pytest.mark.parametrize("path", committed(POISONED), ids=short_name)
def test_every_model_of_a_poisoning_record_answers_as_it_says(path: Path) -> None:
    record, verification = read_record(path), verify(path)
    assert verification.models == len(record.models)
    assert verification.values == value_count(record)
    assert verification.not_checkable == ()


@pytest.mark.parametrize("path", committed(GENERATED), ids=short_name)
def test_every_model_of_a_text_or_image_generating_record_ships(path: Path) -> None:
    """To query all of them takes minutes a record: ``robustbench-kd verify`` does it."""
    record = read_record(path)
    for role, model in record.models.items():
        stored = find_model(model["recipe_digest"])
        if stored is not None:
            assert stored.shipped
            assert stored.metadata["weights"] == model["weights"]
        elif role != "pretrained":
            assert model["recipe_digest"] in pretrained_keys(record.scenario), role


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in GENERATED if name.startswith("text")])
def test_a_text_generating_record_of_each_leaderboard_is_confirmed(name: str) -> None:
    pytest.importorskip("transformers")
    path = committed([name])[0]
    verification = verify(path, canaries=6)
    assert verification.models == len(read_record(path).models)
    assert verification.marginal <= 3


@pytest.mark.parametrize("name", BOARDS)
def test_every_defense_has_its_records_under_all_its_attacks_and_seeds(name: str) -> None:
    board = board_of(name)
    together = board.joint or not board.poisons
    expected = []
    for defense in board.defenses:
        attacks = [text for text in board.attacks_on(defense) if text != CLEAN]
        groups = [attacks] if together else [[text] for text in attacks]
        label = label_of(defense_of(defense))
        expected += [(g, label, seed) for g in groups for seed in board.seeds_of(defense)]
    records = load_records(board=name)
    assert sorted((r.attack_labels, r.label, r.seed) for r in records) == sorted(expected)


@pytest.mark.parametrize("name", BOARDS)
def test_every_committed_record_is_ranked_unless_its_defense_is_an_oracle(name: str) -> None:
    board, records = board_of(name), load_records(board=name)
    ranking = rank(board, records)
    assert {reason for _, reason in ranking.outside} <= {ORACLE}
    oracles = {record.label for record in records if record.defense["oracle"]}
    assert {row.label for row, _ in ranking.outside} == (set() if board.oracle else oracles)


@pytest.mark.parametrize("name", TEST_TIME)
def test_the_teachers_of_a_leaderboard_ship(name: str) -> None:
    scenario = scenario_of(board_of(name).scenario)
    for role in scenario.teacher_schedules:
        stored = find_model(teacher_recipe(scenario, role)["key"])
        assert stored is not None
        assert stored.shipped


def test_what_ships_is_small_and_every_evidence_file_belongs_to_a_record() -> None:
    students = list(shipped("students").glob("*.safetensors"))
    assert max(path.stat().st_size for path in students) < 3_000_000
    evidence = set(RECORDS.rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in evidence) < 20_000_000
    paths = committed(BOARDS)
    assert evidence == {evidence_path(read_record(path), path) for path in paths} - {None}


def test_the_leaderboard_in_the_readme_is_printed_by_the_command_below_it() -> None:
    """Of the committed records alone: the cache of a test holds none."""
    readme = README.read_text(encoding="utf-8")
    shown = re.search(r"<!-- leaderboard -->\n(.*?)\n<!-- /leaderboard -->", readme, re.DOTALL)
    assert shown
    command = re.search(r"`robustbench-kd (leaderboard \S+ --format markdown[^`]*)`", readme)
    assert command
    ran = CliRunner().invoke(main, shlex.split(command[1]))
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.strip() == shown[1].strip()
