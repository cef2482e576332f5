"""How far a record was checked: every level is reached by what it asks for, and by nothing less."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from ledger import cell, first, made

from robustbench_kd.cli.main import main
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import entries
from robustbench_kd.evaluation.verification_levels import MEANING, level_of
from robustbench_kd.reports.loading import gather
from robustbench_kd.reports.sections.provenance import provenance
from robustbench_kd.results.record import Record, digest
from robustbench_kd.results.store import load_record, save_record

COMMITTED = next(iter(sorted((shipped("records") / "digits-linf").glob("ard--*.json"))))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A committed record with its evidence, in a folder where both may be damaged."""
    path = tmp_path / COMMITTED.name
    shutil.copy(COMMITTED, path)
    shutil.copy(COMMITTED.with_suffix(".safetensors"), path.with_suffix(".safetensors"))
    return path


def rerun(path: Path, hits: int | None = None, **other: object) -> Record:
    """The record as if it had been made again, with another seed of the attacks."""
    old = load_record(path)
    cells = old.cells
    if hits is not None:
        cells = (cells[0], *(cell(c.attack, first(hits, c.count)) for c in cells[1:]))
        cells = tuple(
            replace(new, settings=c.settings) for new, c in zip(cells, old.cells, strict=True)
        )
        flags = [all(row) for row in zip(*(c.flags for c in cells), strict=True)]
        other = {**other, "robust": made("a", flags).robust}
    return replace(old, cells=cells, spent={"cpu_seconds": 99.0}, **other)  # type: ignore[arg-type]


def test_a_sound_record_stands_at_l1_until_it_is_replayed(record: Path) -> None:
    unasked = level_of(record)
    assert unasked.name == "L1"
    assert set(unasked.missing) == {"L2", "L3", "L4"}
    assert level_of(record, replayed=True).name == "L2"


def test_an_edited_record_has_no_level_at_all(record: Path) -> None:
    record.write_text(record.read_text(encoding="utf-8").replace('"seed": 0', '"seed": 1'))
    found = level_of(record, replayed=True)
    assert found.name == ""
    assert "does not match its own digest" in found.missing["L0"]
    assert found.json()["name"] is None


def test_a_record_that_contradicts_itself_stops_at_l0(record: Path) -> None:
    body = json.loads(record.read_text(encoding="utf-8"))
    del body["id"]
    body["robust"]["hits"] += 1
    record.write_text(json.dumps({**body, "id": digest(body)}), encoding="utf-8")
    found = level_of(record)
    assert found.name == "L0"
    assert "worst case" in found.missing["L1"]


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "another"])
def test_a_record_without_its_evidence_stops_at_l0(record: Path, gone: bool) -> None:
    beside = record.with_suffix(".safetensors")
    if gone:
        beside.unlink()
    else:
        beside.write_bytes(beside.read_bytes() + b"x")
    found = level_of(record, replayed=True)
    assert found.name == "L0"
    assert beside.name in found.missing["L1"]


def test_a_rerun_that_agrees_lifts_a_replayed_record_and_no_other(record: Path) -> None:
    again = rerun(record)
    assert level_of(record, replayed=True, reruns=[again]).name == "L3"
    assert level_of(record, reruns=[again]).name == "L1"


def test_a_copy_or_another_question_is_no_rerun(record: Path) -> None:
    old = load_record(record)
    others = [old, rerun(record, threat={"norm": "linf", "eps": 0.5})]
    found = level_of(record, replayed=True, reruns=others)
    assert found.name == "L2"
    assert "no re-run" in found.missing["L3"]


def test_a_rerun_that_breaks_far_more_is_no_confirmation(record: Path) -> None:
    found = level_of(record, replayed=True, reruns=[rerun(record), rerun(record, hits=5)])
    assert found.name == "L2"
    assert "no chance" in found.missing["L3"]


def test_l4_asks_for_an_attack_that_was_made_to_break_the_defense(record: Path) -> None:
    found = level_of(record, replayed=True, reruns=[rerun(record)])
    assert dict(found.missing) == {"L4": "no attack of its panel was made to break ard"}
    assert set(MEANING) == {"L0", "L1", "L2", "L3", "L4"}
    # Carlini & Wagner made theirs against defensive distillation, and it is in the panel.
    body = json.loads(record.read_text(encoding="utf-8"))
    del body["id"]
    body["defense"] |= {"name": "defensive-distillation", "label": "defensive-distillation"}
    record.write_text(json.dumps({**body, "id": digest(body)}), encoding="utf-8")
    assert level_of(record, replayed=True, reruns=[rerun(record)]).name == "L4"
    assert level_of(record, replayed=True).name == "L2"  # it is no short cut
    # Whoever gives that name to a network of their own has not made it a defense.
    body["model"] |= {"yours": True}
    record.write_text(json.dumps({**body, "id": digest(body)}), encoding="utf-8")
    found = level_of(record, replayed=True, reruns=[rerun(record)])
    assert (found.name, set(found.missing)) == ("L3", {"L4"})


def test_attacks_name_defenses_that_there_are() -> None:
    named = {
        name: set(getattr(entry.load(), "made_for", ()))
        for name, entry in entries("attacks").items()
    }
    assert named["carlini-wagner"] == {"defensive-distillation"}
    assert set().union(*named.values()) <= set(entries("defenses"))


def test_a_page_says_how_far_its_records_were_checked(record: Path) -> None:
    (found,) = gather([record]).boards
    assert "level L1" in provenance(found).words[1]
    record.with_suffix(".safetensors").unlink()
    (found,) = gather([record]).boards
    assert "level L0" in provenance(found).words[1]


def test_every_kind_of_committed_record_is_sound() -> None:
    for board in sorted(path for path in shipped("records").iterdir() if path.is_dir()):
        path = next(iter(sorted(board.glob("*.json"))))
        assert level_of(path).name == "L1", path


def test_verify_tells_the_level_that_was_reached(record: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["verify", str(record)])
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.rstrip().endswith("; level L2")
    again = save_record(rerun(record), record.with_suffix(".safetensors").read_bytes(), tmp_path)
    asked = ["verify", str(record), "--rerun", str(again), "--json"]
    (found,) = json.loads(CliRunner().invoke(main, asked).stdout)["records"]
    assert found["level"]["name"] == "L3"
    assert set(found["level"]["not_reached"]) == {"L4"}
    record.with_suffix(".safetensors").write_bytes(b"x")
    ran = CliRunner().invoke(main, ["verify", str(record)])
    assert ran.exit_code == 1
    assert ran.stdout.rstrip().endswith("; level L0")


def test_a_board_in_json_tells_how_far_each_row_was_checked() -> None:
    ran = CliRunner().invoke(main, ["leaderboard", "digits-linf", "--json"])
    rows = json.loads(ran.stdout)["rows"]
    assert {row["level"] for row in rows} == {"L1"}  # nothing was replayed
