"""How far a record was checked: every level is reached by what it asks for, and by nothing less."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from records import canary_record, evasion_result, first, forge
from robustbench_kd.cli.main import main
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import entries
from robustbench_kd.evaluation.verification_levels import MEANING, level_of
from robustbench_kd.reports.loading import load_boards
from robustbench_kd.reports.sections.provenance import provenance
from robustbench_kd.results.record import CLEAN, Json, Record
from robustbench_kd.results.store import evidence_path, read_evidence, read_record, save_record

COMMITTED = next(iter(sorted((shipped("records") / "digits-linf").glob("ard--*.json"))))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A committed record with its evidence, in a folder where both may be damaged."""
    copied = tmp_path / COMMITTED.name
    shutil.copy(COMMITTED, copied)
    shutil.copy(evidence_of(COMMITTED), tmp_path)
    return copied


def evidence_of(path: Path) -> Path:
    evidence = evidence_path(read_record(path), path)
    assert evidence is not None
    return evidence


def rerun(path: Path, correct: int | None = None, **fields: Any) -> Record:
    """The record as if it had been made again, with another seed of the attacks.

    Args:
        correct: so many examples, the first ones, survive each attack; as before unless given.
    """
    record = read_record(path)
    attacks = {
        label: result
        if correct is None or label == CLEAN
        else evasion_result(first(correct, record.data["count"]), settings=result.settings)
        for label, result in record.attacks.items()
    }
    return replace(record, **{"attacks": attacks, "compute": {"cpu_seconds": 99.0}, **fields})


def test_a_sound_record_stands_at_l1_until_it_is_replayed(path: Path) -> None:
    level = level_of(path)
    assert level.name == "L1"
    assert set(level.missing) == {"L2", "L3", "L4"}
    assert level_of(path, replayed=True).name == "L2"


def test_an_edited_record_has_no_level_at_all(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace('"seed":0', '"seed":1'))
    level = level_of(path, replayed=True)
    assert level.name == ""
    assert "does not match its own digest" in level.missing["L0"]
    assert level.json()["name"] is None


def _miscount(body: Json) -> None:
    body["attacks"]["fgsm"]["columns"]["student"]["correct"]["ones"] += 1


def _other_size(body: Json) -> None:
    body["data"]["count"] += 1


@pytest.mark.parametrize(
    ("contradict", "reason"),
    [(_miscount, "its bits do not"), (_other_size, "another number of samples")],
)
def test_a_record_that_contradicts_itself_stops_at_l0(
    contradict: Any, reason: str, path: Path
) -> None:
    forge(path, contradict)
    level = level_of(path)
    assert level.name == "L0"
    assert reason in level.missing["L1"]


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "another"])
def test_a_record_without_its_evidence_stops_at_l0(missing: bool, path: Path) -> None:
    evidence = evidence_of(path)
    if missing:
        evidence.unlink()
    else:
        evidence.write_bytes(evidence.read_bytes() + b"x")
    level = level_of(path, replayed=True)
    assert level.name == "L0"
    assert evidence.name in level.missing["L1"]


def test_a_rerun_that_agrees_lifts_a_replayed_record_and_no_other(path: Path) -> None:
    again = rerun(path)
    assert level_of(path, replayed=True, reruns=[again]).name == "L3"
    assert level_of(path, reruns=[again]).name == "L1"


def test_a_copy_or_another_question_is_no_rerun(path: Path) -> None:
    record = read_record(path)
    student = {**record.student, "weights": "0" * 64}
    others = [
        record,
        rerun(path, threat={**record.threat, "eps": 0.5}),
        rerun(path, models={**record.models, "student": student}),
        rerun(path, attacks=dict(list(record.attacks.items())[:-1])),
    ]
    level = level_of(path, replayed=True, reruns=others)
    assert level.name == "L2"
    assert "no re-run" in level.missing["L3"]


def test_a_rerun_that_breaks_far_more_is_no_confirmation(path: Path) -> None:
    level = level_of(path, replayed=True, reruns=[rerun(path), rerun(path, correct=5)])
    assert level.name == "L2"
    assert "no chance" in level.missing["L3"]


def test_a_rerun_of_ranks_confirms_by_their_mean_exposure(tmp_path: Path) -> None:
    """Moved up and down alike they agree; all of them far better, they do not."""
    ranks = [5.0 + n for n in range(20)]
    path = save_record(canary_record({"student": ranks}), b"", tmp_path)
    jittered = canary_record({"student": [rank + (-1) ** n for n, rank in enumerate(ranks)]})
    assert level_of(path, replayed=True, reruns=[jittered]).missing.keys() == {"L4"}
    better = canary_record({"student": [1.0] * 20})
    level = level_of(path, replayed=True, reruns=[jittered, better])
    assert level.name == "L2"
    assert "no chance" in level.missing["L3"]


def test_l4_asks_for_an_attack_that_was_designed_to_break_the_defense(path: Path) -> None:
    level = level_of(path, replayed=True, reruns=[rerun(path)])
    assert dict(level.missing) == {"L4": "no attack of its panel was designed to break ard"}
    assert set(MEANING) == {"L0", "L1", "L2", "L3", "L4"}
    # Carlini & Wagner designed theirs against defensive distillation, and it is in the panel.
    name = "defensive-distillation"
    forge(path, lambda body: body["defense"].update(name=name, label=name))
    assert level_of(path, replayed=True, reruns=[rerun(path)]).name == "L4"
    assert level_of(path, replayed=True).name == "L2"  # it is no short cut
    # Whoever gives that name to a network of their own has not made it a defense.
    forge(path, lambda body: body["models"]["student"].update(user_model=True))
    level = level_of(path, replayed=True, reruns=[rerun(path)])
    assert (level.name, set(level.missing)) == ("L3", {"L4"})


def test_attacks_name_defenses_that_there_are() -> None:
    named = {
        name: set(getattr(entry.load(), "adaptive_against", ()))
        for name, entry in entries("attacks").items()
    }
    assert named["carlini-wagner"] == {"defensive-distillation"}
    assert set().union(*named.values()) <= set(entries("defenses"))


def test_a_record_of_a_leaderboard_that_is_not_here_has_a_level_too(path: Path) -> None:
    forge(path, lambda body: body.update(board="of-a-plug-in"))
    assert level_of(path).name == "L1"
    level = level_of(path, replayed=True, reruns=[rerun(path)])
    assert level.name == "L2"
    assert "of-a-plug-in is not here" in level.missing["L3"]
    ran = CliRunner().invoke(main, ["verify", str(path)])
    assert ran.exit_code == 2
    assert ran.stdout.startswith("not checkable here")
    assert ran.stdout.rstrip().endswith("; level L1")


def test_a_page_says_how_far_its_records_were_checked(path: Path) -> None:
    (board,) = load_boards([path]).boards
    assert "level L1" in provenance(board).paragraphs[1]
    evidence_of(path).unlink()
    (board,) = load_boards([path]).boards
    assert "level L0" in provenance(board).paragraphs[1]


def test_the_first_committed_record_of_each_leaderboard_is_sound() -> None:
    boards = sorted(path for path in shipped("records").iterdir() if path.is_dir())
    assert len(boards) >= 9
    for board in boards:
        path = next(iter(sorted(board.glob("*.json"))))
        assert level_of(path).name == "L1", path


def test_verify_prints_the_level_that_was_reached(path: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["verify", str(path)])
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.rstrip().endswith("; level L2")
    again = save_record(rerun(path), read_evidence(read_record(path), path), tmp_path / "again")
    command = ["verify", str(path), "--rerun", str(again), "--json"]
    (result,) = json.loads(CliRunner().invoke(main, command).stdout)["records"]
    assert result["level"]["name"] == "L3"
    assert set(result["level"]["not_reached"]) == {"L4"}
    evidence_of(path).write_bytes(b"x")
    ran = CliRunner().invoke(main, ["verify", str(path)])
    assert ran.exit_code == 1
    assert ran.stdout.rstrip().endswith("; level L0")


def test_a_leaderboard_in_json_says_how_far_each_record_was_checked() -> None:
    ran = CliRunner().invoke(main, ["leaderboard", "digits-linf", "--json"])
    rows = json.loads(ran.stdout)["rows"]
    assert len(rows) == 12
    levels = {seed["level"] for row in rows for seed in row["seeds"]}
    assert levels == {"L1"}  # nothing was replayed
