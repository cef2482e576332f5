"""Merging: the union of many folders, and every file that is refused by its name."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from records import backdoor_record, canary_record, evasion_record, forge
from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import SaveFailed
from robustbench_kd.results.merge import Merged, merge
from robustbench_kd.results.record import SCHEMA, Record
from robustbench_kd.results.store import load_records, read_evidence, read_record, save_record

INPUTS = b"submitted inputs"
EVIDENCE: dict[str, Any] = {"sha256": hashlib.sha256(INPUTS).hexdigest(), "bytes": len(INPUTS)}
FIXTURES = Path(__file__).parents[1] / "fixtures"


def record(label: str, correct: int = 7, **fields: Any) -> Record:
    return evasion_record(
        label, correct, count=10, **{"evidence": {**EVIDENCE, "rows": 1}, **fields}
    )


def put(folder: Path, *records: Record) -> list[Path]:
    return [save_record(record, INPUTS, folder) for record in records]


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def labels(folder: Path) -> list[str]:
    return sorted(record.label for record in load_records(folder))


def counts(merged: Merged) -> tuple[int, int, int, int]:
    """How many were written, present, duplicates and refused."""
    parts = (merged.written, merged.present, merged.duplicates, merged.refused)
    written, present, duplicates, refused = map(len, parts)
    return written, present, duplicates, refused


# --------------------------------------------------------------------------------------- the union


def test_folders_become_one_and_identical_claims_are_kept_once(tmp_path: Path) -> None:
    here, there, out = tmp_path / "here", tmp_path / "there", tmp_path / "out"
    ard, slower = record("ard"), record("ard", compute={"cpu_seconds": 99.0})
    assert ard.claim == slower.claim
    assert ard.id != slower.id
    put(here, ard, record("rslad"))
    (copied, *_) = put(there, slower, record("ard", 6), record("iad"))  # 6: another answer
    before = content(here) | content(there)
    merged = merge([here, there], out)
    assert counts(merged) == (4, 0, 1, 0)
    assert merged.duplicates == (copied,)
    assert merged.code == 0
    robust = sorted((record.label, record.worst.hits) for record in load_records(out))
    assert robust == [("ard", 6), ("ard", 7), ("iad", 7), ("rslad", 7)]
    assert all(read_evidence(read_record(path), path) == INPUTS for path in merged.written)
    assert content(here) | content(there) == before


def test_the_order_of_folders_does_not_matter_and_a_second_merge_changes_nothing(
    tmp_path: Path,
) -> None:
    one, two, out = tmp_path / "one", tmp_path / "two", tmp_path / "ab"
    put(one, record("ard"), record("rslad"))
    put(two, record("ard"), record("iad"))
    merge([one, two], out)
    merge([two, one], tmp_path / "ba")
    assert content(out) == content(tmp_path / "ba")
    assert counts(merge([one, two, out], out)) == (0, 3, 4, 0)
    assert counts(merge([tmp_path], out)) == (0, 3, 7, 0)  # "out" lies in it, and is read once
    assert content(out) == content(tmp_path / "ba")


def test_records_of_every_threat_are_merged_and_share_their_inputs(tmp_path: Path) -> None:
    for machine, label in (("a", "distillation"), ("b", "standard-training")):
        backdoor = backdoor_record({"student": 3}, label=label, evidence=EVIDENCE)
        canaries = canary_record({"student": [1, 2], "control": [3, 4]}, label=label)
        put(tmp_path / machine, backdoor, canaries)
    out = tmp_path / "out"
    assert counts(merge([tmp_path / "a", tmp_path / "b"], out)) == (4, 0, 0, 0)
    assert len(list(out.rglob("*.safetensors"))) == 1
    assert labels(out) == ["distillation"] * 2 + ["standard-training"] * 2


@pytest.mark.parametrize("name", ["record-1", "planted-1", "probed-1"])
def test_older_records_are_written_in_todays_schema_under_todays_names(
    tmp_path: Path, name: str
) -> None:
    source, out = tmp_path / "pictures-backdoor" / "old", tmp_path / "out"
    source.mkdir(parents=True)
    old = Path(shutil.copy(FIXTURES / f"{name}.json", source / "old.json"))
    record, inputs = read_record(old), b""
    if record.evidence:
        inputs = INPUTS
        beside = f"x--inputs-seed0--{EVIDENCE['sha256'][:12]}" if name == "planted-1" else "old"
        (source / f"{beside}.safetensors").write_bytes(inputs)
        part = "evidence" if name == "record-1" else "exhibit"
        forge(old, lambda body: body.update({part: {**body[part], **EVIDENCE}}))
        record = read_record(old)
    before = old.read_bytes()
    merged = merge([source], out)
    assert counts(merged) == (1, 0, 0, 0)
    (new,) = merged.written
    assert json.loads(new.read_text())["schema"] == SCHEMA
    assert read_record(new) == record
    assert new.parent.name == record.board
    assert record.claim[:12] in new.name
    assert read_evidence(record, new) == inputs
    assert old.read_bytes() == before
    assert counts(merge([source, out], tmp_path / "again")) == (1, 0, 1, 0)
    assert content(tmp_path / "again") == content(out)


# -------------------------------------------------------------------------------- what is refused


def evidence_of(path: Path) -> Path:
    """The file of inputs beside a record."""
    (inputs,) = path.parent.glob("*.safetensors")
    return inputs


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


def edited(path: Path) -> None:
    path.write_text(path.read_text().replace('"seed":0', '"seed":1', 1))


def wrong_ones(body: dict[str, Any]) -> None:
    body["attacks"]["fgsm"]["columns"]["student"]["correct"]["ones"] = 9


HARMS: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "cut off": (cut_off, 2, "is no record: "),
    "edited": (edited, 2, "does not match its own digest"),
    "miscounted": (lambda path: forge(path, wrong_ones), 2, "counts 9 ones, its bits do not"),
    "no text": (lambda path: path.write_bytes(b"\xff\xfe"), 2, "is no record: "),
    "a list": (lambda path: path.write_text("[]"), 2, "holds a list"),
    "no record": (lambda path: path.write_text("{}"), 2, "has schema None; this version reads"),
    "of a future schema": (
        lambda path: forge(path, lambda body: body.update(schema="robustbench-kd.record/3")),
        2,
        "has schema 'robustbench-kd.record/3'; this version reads",
    ),
    "with an unknown field": (
        lambda path: forge(path, lambda body: body.update(surprise=1)),
        2,
        "surprise",
    ),
    "without its inputs": (lambda path: evidence_of(path).unlink(), 2, "lacks its evidence"),
    "naming no inputs": (
        lambda path: forge(path, lambda body: body.update(evidence={})),
        2,
        "lacks the sha256 of its evidence",
    ),
    "with other inputs": (
        lambda path: evidence_of(path).write_bytes(b"x"),
        2,
        "is not the evidence that",
    ),
    "of another leaderboard": (
        lambda path: forge(path, lambda body: body.update(board="digits-linf")),
        2,
        "is about digits-linf, and lies in a folder of fashion-linf",
    ),
    "of another kind of threat": (
        lambda path: forge(
            path, lambda body: body["threat"].update(capability="student_train_data")
        ),
        2,
        "lacks the count of its poison",
    ),
    "of fewer examples": (
        lambda path: forge(path, lambda body: body.update(limit=10)),
        4,
        "other number of test examples",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_what_cannot_be_trusted_is_named_in_one_sentence_and_the_rest_stays_usable(
    harm: str, tmp_path: Path
) -> None:
    change, code, words = HARMS[harm]
    good, bad, out = tmp_path / "good", tmp_path / "bad", tmp_path / "out"
    put(good, record("rslad"), record("iad"), record("trades"))
    (path,) = put(bad, record("ard"))
    change(path)
    merged = merge([bad, good], out)
    (refusal,) = merged.refused
    assert (refusal.path, refusal.code, merged.code) == (path, code, code)
    assert str(path) in refusal.why
    assert words in refusal.why
    assert "\n" not in refusal.why
    assert labels(out) == ["iad", "rslad", "trades"]


def test_other_test_data_other_settings_and_other_panels_are_another_protocol(
    tmp_path: Path,
) -> None:
    ard = record("ard")
    attacks = dict(ard.attacks)
    attacks["fgsm"] = replace(attacks["fgsm"], settings={"eps": 0.2})
    del attacks["pgd:steps=20"]
    put(tmp_path / "odd", replace(ard, attacks=attacks, data={**ard.data, "examples": "f" * 64}))
    (right, _) = put(tmp_path / "rest", record("rslad"), record("iad"))
    (refusal,) = merge([tmp_path / "odd", tmp_path / "rest"], tmp_path / "out", [right]).refused
    assert refusal.why.endswith("other settings of fgsm, settings of pgd:steps=20, test data")


def test_attacks_that_poison_training_data_of_their_own_are_questions_of_their_own(
    tmp_path: Path,
) -> None:
    attacks = ("badnets:size=2", "badnets:size=3", "wanet")
    put(tmp_path / "here", *(backdoor_record(attack=a, evidence=EVIDENCE) for a in attacks))
    assert counts(merge([tmp_path / "here"], tmp_path / "out")) == (3, 0, 0, 0)


def test_the_protocol_is_never_decided_by_the_number_of_files(tmp_path: Path) -> None:
    """Four records with another radius would outvote three; where they differ, none is merged."""
    hostile = put(tmp_path / "a", *(record(f"h{n}", threat={"eps": 0.2}) for n in range(4)))
    honest = put(tmp_path / "b", record("rslad"), record("iad"), record("ard"))
    folders = [tmp_path / "a", tmp_path / "b"]
    merged = merge(folders, tmp_path / "out")
    assert (counts(merged), merged.code) == ((0, 0, 0, 7), 5)
    for refusal in merged.refused:
        assert f"follow 2 protocols, such as those of {hostile[0]} and " in refusal.why
        assert "which differ in threat; name the right one by --protocol RECORD" in refusal.why
    merged = merge(folders, tmp_path / "out", right=[honest[0]])
    assert labels(tmp_path / "out") == ["ard", "iad", "rslad"]
    assert {refusal.path for refusal in merged.refused} == set(hostile)
    arguments = [*map(str, folders), "--protocol", str(hostile[0]), "--out", str(tmp_path / "new")]
    assert CliRunner().invoke(main, ["merge", *arguments]).exit_code == 4
    assert labels(tmp_path / "new") == ["h0", "h1", "h2", "h3"]


def test_the_folder_that_is_merged_into_says_what_the_protocol_is(tmp_path: Path) -> None:
    put(tmp_path / "out", record("ard"))
    put(tmp_path / "many", *(record(label, threat={"eps": 0.2}) for label in ("rslad", "iad")))
    merged = merge([tmp_path / "many"], tmp_path / "out")
    assert (counts(merged), merged.code) == ((0, 1, 0, 2), 4)
    assert labels(tmp_path / "out") == ["ard"]


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_nothing_is_overwritten(tmp_path: Path, suffix: str) -> None:
    (path,) = put(tmp_path / "here", record("ard"))
    source = path if suffix == ".json" else evidence_of(path)
    target = tmp_path / "out" / source.relative_to(tmp_path / "here")
    target.parent.mkdir(parents=True)
    target.write_text("something else")
    merged = merge([tmp_path / "here"], tmp_path / "out")
    assert merged.code == 5
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    assert target.read_text() == "something else"
    assert f"was not merged: {target} holds something else already" in merged.refused[-1].why


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveFailed):
        merge([tmp_path / "none"], tmp_path / "file" / "x")


# ------------------------------------------------------------------------------------- the command


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["merge", *map(str, args)])


def test_the_command_says_what_became_of_every_file(tmp_path: Path) -> None:
    put(tmp_path / "good", record("rslad"), record("iad"))
    (bad,) = put(tmp_path / "bad", record("ard"))
    cut_off(bad)
    ran = run(tmp_path / "bad", tmp_path / "good", "--out", tmp_path / "out")
    assert ran.exit_code == 2
    refused, board, total = ran.stdout.splitlines()
    assert refused.startswith(f"refused: {bad} is no record: ")
    assert board == "fashion-linf: 2 new"
    assert total.endswith("out: 2 new, 0 there already, 0 the same as another, 1 refused")


def test_the_command_has_one_json_document(tmp_path: Path) -> None:
    (path,) = put(tmp_path / "good", record("rslad"))
    bad = tmp_path / "good" / "bad.json"
    bad.write_text("{}")
    ran = run(tmp_path / "good", "--out", tmp_path / "out", "--json")
    body = json.loads(ran.stdout)
    assert (ran.exit_code, body["command"], body["exit_code"]) == (2, "merge", 2)
    assert [Path(written).name for written in body["written"]] == [path.name]
    assert (body["present"], body["duplicates"]) == ([], [])
    (refused,) = body["refused"]
    assert (refused["path"], refused["code"]) == (str(bad), 2)


def test_nothing_usable_is_named_by_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert run(tmp_path / "none", "--out", tmp_path / "out").exit_code == 5
    assert not (tmp_path / "out").exists()
    assert run(tmp_path / "gone", "--out", tmp_path / "out").exit_code == 2
    closed = tmp_path / "file"
    closed.write_text("")
    assert run(tmp_path / "none", "--out", closed / "x").exit_code == 6
