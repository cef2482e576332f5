"""Records on disk: named by what they claim, never without their evidence, and found again."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from records import backdoor_record, canary_record, evasion_record
from robustbench_kd.core.errors import BadRecord, BadSetting, MissingData, SaveFailed, UnknownName
from robustbench_kd.core.paths import shipped
from robustbench_kd.results import store
from robustbench_kd.results.record import Record, digest
from robustbench_kd.results.store import (
    evidence_path,
    inventory,
    load_records,
    local_records,
    look_up,
    read_evidence,
    read_record,
    record_path,
    save_record,
    take_inventory,
)

EVIDENCE = b"submitted inputs"
DIGEST = hashlib.sha256(EVIDENCE).hexdigest()
FIXTURES = Path(__file__).parents[1] / "fixtures"


def record(label: str = "ard", **fields: Any) -> Record:
    """Ten examples, seven of them robust, with evidence."""
    evidence = {"sha256": DIGEST, "bytes": len(EVIDENCE), "rows": 1}
    return evasion_record(label, 7, count=10, **{"evidence": evidence, **fields})


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------ writing and reading


def test_a_record_and_its_evidence_survive_their_files(tmp_path: Path) -> None:
    path = save_record(record(), EVIDENCE, tmp_path)
    assert path == record_path(record(), tmp_path)
    assert read_record(path) == record()
    assert read_evidence(record(), path) == EVIDENCE
    assert load_records(tmp_path) == [record()]
    assert inside(tmp_path) == sorted([path.name, f"inputs--{DIGEST[:16]}.safetensors"])


def test_the_order_of_attacks_survives_the_file(tmp_path: Path) -> None:
    path = save_record(record(), EVIDENCE, tmp_path)
    assert list(read_record(path).attacks) == list(record().attacks)


def test_a_record_without_stored_inputs_has_no_evidence(tmp_path: Path) -> None:
    canaries = canary_record({"student": [1, 2], "control": [3, 4]})
    path = save_record(canaries, b"", tmp_path)
    assert evidence_path(canaries, path) is None
    assert read_evidence(canaries, path) == b""
    assert inside(tmp_path) == [path.name]


def test_records_of_the_same_inputs_share_one_file_of_them(tmp_path: Path) -> None:
    for label in ("ard", "rslad"):
        save_record(record(label), EVIDENCE, tmp_path)
    assert len(list(tmp_path.rglob("*.json"))) == 2
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


def test_evidence_is_written_before_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot be written, there is no record."""
    attempts: list[str] = []

    def full(path: Path, data: bytes) -> None:
        attempts.append(path.suffix)
        raise SaveFailed("full")

    monkeypatch.setattr(store, "write_whole", full)
    with pytest.raises(SaveFailed):
        save_record(record(), EVIDENCE, tmp_path)
    assert attempts == [".safetensors"]
    assert inside(tmp_path) == []


def test_missing_or_other_evidence_is_refused_by_name(tmp_path: Path) -> None:
    path = save_record(record(), EVIDENCE, tmp_path)
    (inputs,) = tmp_path.rglob("*.safetensors")
    inputs.write_bytes(b"others")
    with pytest.raises(BadRecord, match="is not the evidence that") as caught:
        read_evidence(record(), path)
    assert str(inputs) in str(caught.value)
    inputs.unlink()
    with pytest.raises(BadRecord, match=f"lacks its evidence.* {inputs.name} beside it"):
        read_evidence(record(), path)


@pytest.mark.parametrize(
    ("fixture", "name"),
    [("record-1", "old.safetensors"), ("planted-1", "x--inputs-seed0--{}.safetensors")],
)
def test_evidence_of_older_records_is_found_under_its_older_name(
    tmp_path: Path, fixture: str, name: str
) -> None:
    old = replace(read_record(FIXTURES / f"{fixture}.json"), evidence=record().evidence)
    inputs = tmp_path / name.format(DIGEST[:12])
    inputs.write_bytes(EVIDENCE)
    assert read_evidence(old, tmp_path / "old.json") == EVIDENCE
    inputs.write_bytes(b"others")
    with pytest.raises(BadRecord, match="is not the evidence that"):
        read_evidence(old, tmp_path / "old.json")


def test_the_same_claim_has_the_same_name_whatever_time_it_took(tmp_path: Path) -> None:
    slow = record(compute={"cpu_seconds": 99.0})
    assert record_path(slow, tmp_path) == record_path(record(), tmp_path)
    assert slow.id != record().id
    assert record_path(record(seed=1), tmp_path) != record_path(record(), tmp_path)


def test_a_record_of_one_attack_on_training_data_is_named_after_it(tmp_path: Path) -> None:
    name = record_path(backdoor_record({"student": 3}), tmp_path).name
    assert name.startswith("badnets-size=2--distillation--seed0--")
    assert record_path(record(), tmp_path).name.startswith("ard--seed0--")


def test_no_change_of_one_character_of_a_record_is_read(tmp_path: Path) -> None:
    path = save_record(record(), EVIDENCE, tmp_path)
    raw = path.read_bytes()
    for place in range(0, len(raw), 3):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        try:
            same = json.loads(changed) == json.loads(raw)
        except ValueError:
            same = False
        if not same:
            path.write_bytes(changed)
            with pytest.raises(BadRecord) as caught:
                read_record(path)
            assert str(path) in str(caught.value)


def test_a_record_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(BadRecord, match=r"odd\.json is no record"):
        read_record(tmp_path / "odd.json")


def test_reading_records_loads_no_torch() -> None:
    code = (
        "import sys; from robustbench_kd.results.store import load_records\n"
        "load_records(board='digits-linf'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# ------------------------------------------------------------------------------- folders of records


def test_nothing_where_records_were_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"there is no folder .*nowhere"):
        load_records(tmp_path / "nowhere")
    with pytest.raises(MissingData, match="there is no record in "):
        load_records(tmp_path)
    save_record(record(), EVIDENCE, tmp_path)
    with pytest.raises(MissingData, match="there is no record about digits-linf in "):
        load_records(tmp_path, "digits-linf")
    with pytest.raises(UnknownName, match="'fashion-linf'"):
        load_records(tmp_path, "fashion-lin")
    with pytest.raises(UnknownName, match="'fashion-linf'"):
        take_inventory(tmp_path, "fashion-lin")


def test_a_damaged_file_among_others_is_an_error_where_all_are_asked_for(tmp_path: Path) -> None:
    path = save_record(record(), EVIDENCE, tmp_path)
    path.with_name("cut.json").write_text(path.read_text()[:99])
    with pytest.raises(BadRecord, match=r"cut\.json is no record"):
        load_records(tmp_path)


def test_records_lie_in_folders_of_leaderboards_or_directly_in_the_one_given(
    tmp_path: Path,
) -> None:
    path = save_record(record(), EVIDENCE, tmp_path)
    save_record(record("trades", board="digits-linf", scenario="digits"), EVIDENCE, tmp_path)
    assert [r.label for r in load_records(tmp_path)] == ["trades", "ard"]
    assert [r.label for r in load_records(tmp_path, "fashion-linf")] == ["ard"]
    assert [r.label for r in load_records(path.parent, "fashion-linf")] == ["ard"]
    assert [r.label for r in load_records(path.parent)] == ["ard"]


def test_folders_of_old_names_of_leaderboards_are_read(tmp_path: Path) -> None:
    (tmp_path / "pictures-backdoor").mkdir()
    shutil.copy(FIXTURES / "probed-1.json", tmp_path / "pictures-backdoor")
    for name in ("pictures-backdoor", "t2i-backdoor"):
        stock = take_inventory(tmp_path, name)
        assert [r.board for r in stock.records.values()] == ["t2i-backdoor"]
        assert stock.refused == ()


def test_a_record_in_a_folder_of_another_leaderboard_is_refused(tmp_path: Path) -> None:
    good = save_record(record(), EVIDENCE, tmp_path)
    other = record("trades", board="digits-linf", scenario="digits")
    stray = save_record(other, EVIDENCE, tmp_path).rename(good.parent / "stray.json")
    words = f"{stray} is about digits-linf, and lies in a folder of fashion-linf"
    for stock in (take_inventory(tmp_path, "fashion-linf"), inventory([good, stray])):
        assert list(stock.records) == [good]
        assert stock.refused == (words,)
    with pytest.raises(BadRecord, match="lies in a folder of fashion-linf"):
        load_records(tmp_path)


def test_a_record_and_its_migrated_copy_are_copies(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    shutil.copy(FIXTURES / "record-1.json", old)
    new = save_record(replace(read_record(old), compute={}), EVIDENCE, tmp_path)
    assert len(inventory([old, new]).records) == 2
    new = save_record(read_record(old), EVIDENCE, tmp_path)
    stock = inventory([old, new])
    assert list(stock.records) == [old]
    assert stock.refused == (f"{new} is a copy of {old}; remove one of them",)


@pytest.mark.parametrize("board", ["../x", "/tmp/x", "..", "a/b", "a\\b", "", ".hidden", "a\n"])
def test_no_record_leads_out_of_its_folder(tmp_path: Path, board: str) -> None:
    with pytest.raises(BadRecord, match="is no name of a leaderboard"):
        save_record(replace(record("ard"), board=board), EVIDENCE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"board": "../x"},
        {"board": "/etc"},
        {"seed": "../../x"},
        {"seed": -1},
        {"limit": 2.5},
        {"defense": {"name": {"a": 1}, "label": "ard"}},
        {"defense": {"name": "ard", "label": "ard\n::stop-commands::x"}},
        {"defense": {"name": "ard", "label": "\x1b[2J"}},
        {"threat": {"capability": "test_data", "norm": "linf", "eps": -0.1}},
        {"threat": {"capability": "test_data", "norm": "linf", "eps": "NaN"}},
        {"sanity_checks": {"gap": 10**400}},
        {"warnings": ["a", "a"]},
    ],
    ids=str,
)
def test_a_record_with_such_a_field_is_refused_however_well_it_is_sealed(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    path = save_record(record("ard"), EVIDENCE, tmp_path)
    body = json.loads(path.read_text()) | change
    del body["id"]
    path.write_text(json.dumps({**body, "id": digest(body)}))
    with pytest.raises(BadRecord, match="is no record: "):
        read_record(path)


# ------------------------------------------------------------------------------------------ look-up


def test_a_record_is_looked_up_by_path_label_and_seed(tmp_path: Path) -> None:
    one = save_record(record("ours", seed=1), EVIDENCE, local_records())
    assert look_up(str(one), "fashion-linf") == (one, record("ours", seed=1))
    assert look_up("ours@1", "fashion-linf")[0] == one
    with pytest.raises(UnknownName, match="ours@1"):
        look_up("ours", "fashion-linf")
    with pytest.raises(BadSetting, match="a seed is a number"):
        look_up("ours@first", "fashion-linf")
    with pytest.raises(UnknownName, match="'fashion-linf'"):
        look_up("ours", "fashion-lin")


def test_old_names_are_looked_up_too() -> None:
    _, current = look_up("standard-training", "fashion-linf")
    assert look_up("labels", "fashion-linf")[1] == current
    assert current.label == "standard-training"


def test_several_records_about_one_thing_are_told_apart_by_their_attack() -> None:
    for attack in ("badnets:size=2", "wanet"):
        save_record(backdoor_record(attack=attack, evidence={}), b"", local_records())
    with pytest.raises(BadSetting, match="2 records are about 'distillation'; give a path"):
        look_up("distillation", "digits-backdoor")
    assert look_up("wanet/distillation", "digits-backdoor")[1].attack_labels == ["wanet"]


def test_the_budget_of_the_leaderboard_goes_before_others_and_limited_runs_are_left_out() -> None:
    usual = record("ours")
    for other in (usual, record("ours", threat={"eps": 0.2}), record("ours", limit=10)):
        save_record(other, EVIDENCE, local_records())
    assert look_up("ours", "fashion-linf")[1] == usual


def test_every_committed_record_reads_and_lies_in_its_folder() -> None:
    paths = sorted(shipped("records").rglob("*.json"))
    stock = inventory(paths)
    assert len(stock.records) == len(paths) > 400
    assert stock.refused == ()
