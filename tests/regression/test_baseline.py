"""Baselines: small, readable in a diff, whole or refused; older ones are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from records import PANEL, backdoor_record, canary_record, evasion_record, first
from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import BadRecord, BadSetting
from robustbench_kd.core.paths import shipped
from robustbench_kd.regression.baseline import (
    SCHEMA,
    accepted,
    load_baseline,
    parse_baseline,
    written,
)
from robustbench_kd.regression.baseline_migrations import SCHEMA_1
from robustbench_kd.regression.snapshot import snapshot
from robustbench_kd.results.store import load_records, save_record

ARD = snapshot(evasion_record("ard", 700))
BADNETS = snapshot(backdoor_record({"student": 90}))
CANARIES = snapshot(canary_record({"student": (1, 20, 300)}))
OLD = Path(__file__).parents[1] / "fixtures" / "baselines" / "baseline-1.json"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return save_record(evasion_record("ard", 700), b"", tmp_path / "records")


def test_a_baseline_is_read_as_it_was_written() -> None:
    baseline = accepted([ARD, BADNETS, CANARIES], "a first one").updated(
        [snapshot(evasion_record("ard", 690, weights="w"))], "another"
    )
    assert parse_baseline(written(baseline), "here") == baseline
    assert written(parse_baseline(written(baseline), "here")) == written(baseline)
    assert json.loads(written(baseline))["reason"] == "another"


def test_a_thousand_examples_under_an_attack_take_one_line_of_less_than_400_bytes() -> None:
    lines = written(accepted([ARD], "x")).splitlines()
    endpoints = [line for line in lines if '"bits"' in line]
    assert len(endpoints) == len(PANEL) + 1
    assert all(len(json.loads(f"{{{end.rstrip(',')}}}".strip())) == 1 for end in endpoints)
    assert all(168 < len(end) < 400 for end in endpoints)
    assert len(written(accepted([ARD], "x"))) < 2_900


def test_a_change_of_one_attack_changes_its_line_the_worst_case_and_the_students() -> None:
    whole = written(accepted([ARD], "x")).splitlines()
    flags = {attack: 699 if attack == "fgsm" else 700 for attack in PANEL[1:]}
    changed = snapshot(evasion_record("ard", flags))
    others = written(accepted([changed], "x")).splitlines()
    differ = [line for line, other in zip(whole, others, strict=True) if line != other]
    # The student's line holds the claim, which covers everything.
    names = [line.strip().partition(": ")[0] for line in differ]
    assert names == [f'"{ARD.name}"', '"robust-accuracy"', '"fgsm"']


def test_numbers_are_written_as_numbers() -> None:
    line = next(line for line in written(accepted([CANARIES], "x")).splitlines() if "bits" in line)
    body = json.loads("{" + line.strip().rstrip(",") + "}")["exposure"]
    assert body["values"] == pytest.approx([9.96578, 5.64386, 1.73697])
    assert (body["unit"], body["higher_is_better"], body["margin"]) == ("bits", False, 0.5)


def test_an_update_moves_the_last_baseline_and_the_anchor_only_with_anchor() -> None:
    old, worse = accepted([ARD], "x"), snapshot(evasion_record("ard", 690))
    once = old.updated([worse], "y")
    assert (once.previous, once.anchor) == ({ARD.name: worse}, {ARD.name: ARD})
    assert old.updated([worse], "y", anchor=True).anchor == {ARD.name: worse}
    new = once.updated([BADNETS], "z")
    assert new.anchor == {ARD.name: ARD, BADNETS.name: BADNETS}
    assert '"fashion-linf/ard@0": "previous"' in written(old)
    assert '"fashion-linf/ard@0": "previous"' not in written(once)


def test_a_baseline_needs_a_reason_and_one_record_a_student() -> None:
    with pytest.raises(BadSetting, match="--reason TEXT"):
        accepted([ARD], " \n")
    with pytest.raises(BadSetting, match="two records are about fashion-linf/ard@0"):
        accepted([ARD, snapshot(evasion_record("ard", 3))], "x")


def test_a_baseline_of_the_first_schema_holds_what_todays_records_do() -> None:
    """It was written by the first release, from records that are committed."""
    baseline = load_baseline(OLD)
    assert baseline.schema == SCHEMA_1
    assert set(baseline.previous) == {
        "fashion-linf/standard-training@0",
        "fashion-backdoor/badnets/distillation@0",
        "digits-poisoning/bullseye-polytope:rate=0.08,eps=0.4,candidates=50,members=3"
        "/transfer-learning@0",
    }
    assert baseline.anchor == baseline.previous
    for name, old in baseline.previous.items():
        today = [snapshot(record) for record in load_records(board=old.board)]
        (same,) = (shot for shot in today if shot.name == name)
        assert replace(old, claim="") == replace(same, claim="")


def test_an_update_writes_an_older_baseline_in_todays_schema(tmp_path: Path) -> None:
    updated = load_baseline(OLD).updated([CANARIES], "more")
    assert updated.schema == SCHEMA
    assert parse_baseline(written(updated), "here") == updated
    path = tmp_path / "b.json"
    path.write_bytes(OLD.read_bytes())
    named = ("--board", "fashion-linf", "--on-missing", "warn")
    ran = run("gate", "standard-training", "--baseline", path, *named)
    assert ran.exit_code == 0, ran.output
    assert f"{path} has schema {SCHEMA_1}, which is read" in ran.stderr
    assert "fashion-linf/standard-training@0, against the previous baseline" in ran.stdout


def old_entry(change: Callable[[dict[str, Any]], object]) -> str:
    body = json.loads(OLD.read_text())
    change(body["previous"]["fashion-linf/labels@0"])
    return json.dumps(body)


def damaged(change: Callable[[dict[str, Any]], object]) -> str:
    body = json.loads(written(accepted([ARD, CANARIES], "x")))
    change(body)
    return json.dumps(body)


def entry(body: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = body["previous"][ARD.name]
    return part


def numbers(body: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = body["previous"][CANARIES.name]["endpoints"]["exposure"]
    return part


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no baseline"),
        ("[]", "is no baseline"),
        ("<<<<<<< HEAD", "is no baseline"),
        (damaged(lambda b: b.update(schema="other/1")), "has schema 'other/1'; this version reads"),
        (damaged(lambda b: b.pop("anchor")), "KeyError"),
        (
            damaged(lambda b: entry(b)["endpoints"]["fgsm"]["values"].update(ones=1)),
            "fgsm counts 1 ones",
        ),
        (
            damaged(lambda b: entry(b)["endpoints"]["fgsm"]["values"].update(bits="!")),
            "no base64",
        ),
        (
            damaged(lambda b: entry(b)["endpoints"]["fgsm"].update(values=numbers(b)["values"])),
            "different numbers of samples",
        ),
        (damaged(lambda b: numbers(b).update(values=[])), "exposure holds no numbers"),
        (damaged(lambda b: numbers(b).update(values=["x"])), "holds no numbers"),
        (
            damaged(lambda b: entry(b)["endpoints"].pop("robust-accuracy")),
            "holds the endpoints of",
        ),
        (damaged(lambda b: entry(b)["about"].update(seed=1)), "holds the endpoints of"),
        (damaged(lambda b: entry(b)["about"].update(extra=1)), "unexpected keyword"),
        (damaged(lambda b: entry(b)["endpoints"]["fgsm"].pop("settings")), "settings"),
        (old_entry(lambda e: e["cells"]["fgsm"].update(right=1)), "fgsm counts 1 right"),
        (old_entry(lambda e: e["cells"].pop("untouched")), "holds the cells of"),
        (old_entry(lambda e: e["about"].update(seed=1)), "holds the cells of"),
        (old_entry(lambda e: e["about"].update(extra=1)), "unexpected keyword"),
    ],
)
def test_a_damaged_baseline_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(BadRecord, match=words) as caught:
        parse_baseline(text, "that.json")
    assert str(caught.value).startswith("that.json")


def test_save_show_and_update_on_the_command_line(record: Path, tmp_path: Path) -> None:
    path = tmp_path / "git" / "baseline.json"
    ran = run("baseline", "save", record, "--baseline", path, "--reason", "release 1")
    assert ran.exit_code == 0, ran.output
    assert "fashion-linf/ard@0: robust-accuracy 70.0 [67.1, 72.8] of 1000, clean-" in ran.stdout
    again = run("baseline", "save", record, "--baseline", path, "--reason", "x")
    assert (again.exit_code, "baseline update" in again.stderr) == (2, True)

    worse = save_record(evasion_record("ard", 690), b"", tmp_path / "new")
    ran = run("baseline", "update", worse, "--baseline", path, "--reason", "speed")
    assert ran.exit_code == 0, ran.output
    assert "robust-accuracy lost 10, won 0; clean-accuracy lost 0, won 0; fgsm lost" in ran.stdout
    assert "its anchor differs: 70.0" in run("baseline", "show", "--baseline", path).stdout

    shown = json.loads(run("baseline", "show", "--baseline", path, "--json").stdout)
    ends = {part: shown[part]["fashion-linf/ard@0"]["endpoints"] for part in ("previous", "anchor")}
    robust = ends["previous"]["robust-accuracy"]
    assert (robust["hits"], robust["count"], robust["role"]) == (690, 1000, "primary")
    assert ends["anchor"]["robust-accuracy"]["hits"] == 700
    assert shown["reason"] == "speed"


def test_a_folder_may_hold_records_of_every_threat(record: Path, tmp_path: Path) -> None:
    save_record(backdoor_record({"student": 90}), b"", tmp_path / "records")
    save_record(canary_record({"student": (1, 20, 300)}), b"", tmp_path / "records")
    path = tmp_path / "b.json"
    ran = run("baseline", "save", tmp_path / "records", "--baseline", path, "--reason", "x")
    assert ran.exit_code == 0, ran.output
    assert set(load_baseline(path).previous) == {ARD.name, BADNETS.name, CANARIES.name}
    worse = save_record(canary_record({"student": (1, 1, 301)}), b"", tmp_path / "new")
    ran = run("baseline", "update", worse, "--baseline", path, "--reason", "y")
    assert "exposure lost 1, won 1; test-nll lost 0, won 0" in ran.stdout


def test_what_committed_language_models_know_can_be_a_baseline(tmp_path: Path) -> None:
    path = next((shipped("records") / "text-privacy").glob("swing--seed0*.json"))
    ran = run("baseline", "save", path, "--baseline", tmp_path / "b.json", "--reason", "x")
    assert ran.exit_code == 0, ran.output
    assert "text-privacy/swing@0: exposure 3.69 [2.84, 4.84] bits of 63, test-nll" in ran.stdout


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("baseline", "show", "--baseline", "gone.json"), 4, "baseline save RECORD"),
        (("baseline", "save", "gone.json", "--reason", "x"), 2, "cannot read gone.json"),
        (("baseline", "save", "--reason", "x"), 2, "Missing argument"),
        (("baseline", "save", "a.json"), 2, "Missing option '--reason'"),
    ],
)
def test_refusals_are_one_sentence(
    args: tuple[str, ...], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*args)
    assert ran.exit_code == code, ran.output
    assert words in ran.stderr
    assert list(tmp_path.rglob("*.json")) == []


def test_a_baseline_that_cannot_be_written_is_a_failed_save(record: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = run("baseline", "save", record, "--baseline", tmp_path / "file" / "b", "--reason", "x")
    assert ran.exit_code == 6


def test_bits_of_a_baseline_are_those_of_its_record() -> None:
    shot = snapshot(evasion_record("ard", first(3, 8)))
    values = parse_baseline(written(accepted([shot], "x")), "here").previous[shot.name].primary
    assert values.favourable == first(3, 8)
