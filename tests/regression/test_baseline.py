"""Baselines: small, readable in a diff, whole or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ledger import PANEL, first, made
from planted import made as planted

from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import BadRecord, BadSetting
from robustbench_kd.core.paths import shipped
from robustbench_kd.regression.baseline import accepted, load_baseline, parse_baseline, written
from robustbench_kd.regression.snapshot import snapshot
from robustbench_kd.results.store import save_planted, save_record

ARD = snapshot(made("ard", first(700)))
BADNETS = snapshot(planted({"student": 90}))


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return save_record(made("ard", first(700)), b"", tmp_path / "records")


def test_a_baseline_is_read_as_it_was_written() -> None:
    baseline = accepted([ARD, BADNETS], "a first one").updated(
        [snapshot(made("ard", first(690), weights="w"))], "another"
    )
    assert parse_baseline(written(baseline), "here") == baseline
    assert written(parse_baseline(written(baseline), "here")) == written(baseline)
    assert json.loads(written(baseline))["reason"] == "another"


def test_a_thousand_examples_and_an_attack_take_about_170_bytes_of_bits_and_one_line() -> None:
    lines = written(accepted([ARD], "x")).splitlines()
    cells = [line for line in lines if '"bits"' in line]
    assert len(cells) == len(PANEL)
    assert all(len(json.loads(f"{{{c.rstrip(',')}}}".replace("{ ", "{", 1))) == 1 for c in cells)
    assert all(168 < len(cell) < 270 for cell in cells)
    assert len(written(accepted([ARD], "x"))) < 2_000


def test_a_change_of_one_cell_changes_its_line_and_the_students() -> None:
    one = written(accepted([ARD], "x")).splitlines()
    other = made("ard", first(700))
    cells = (*other.cells[:1], *made("ard", first(699)).cells[1:2], *other.cells[2:])
    changed = snapshot(made("ard", first(700), cells=cells))
    two = written(accepted([changed], "x")).splitlines()
    differ = [a for a, b in zip(one, two, strict=True) if a != b]
    # The student's line holds the claim, which covers everything.
    assert [line.strip().partition(": ")[0] for line in differ] == [f'"{ARD.name}"', '"fgsm"']


def test_an_update_moves_the_last_baseline_and_the_anchor_only_when_asked() -> None:
    old, worse = accepted([ARD], "x"), snapshot(made("ard", first(690)))
    once = old.updated([worse], "y")
    assert (once.previous, once.anchor) == ({ARD.name: worse}, {ARD.name: ARD})
    assert old.updated([worse], "y", anchor=True).anchor == {ARD.name: worse}
    new = once.updated([BADNETS], "z")
    assert new.anchor == {ARD.name: ARD, BADNETS.name: BADNETS}
    assert '"fashion-linf/ard@0": "previous"' in written(old)
    assert '"fashion-linf/ard@0": "previous"' not in written(once)


def test_what_was_planted_is_withstood_where_it_did_not_win() -> None:
    assert sum(BADNETS.robust) == 10
    assert BADNETS.name == "digits-backdoor/badnets:size=2/distillation@0"
    assert BADNETS.clean.count == 110


def test_a_baseline_needs_a_reason_and_one_record_a_student() -> None:
    with pytest.raises(BadSetting, match="--reason TEXT"):
        accepted([ARD], " \n")
    with pytest.raises(BadSetting, match="two records are about fashion-linf/ard@0"):
        accepted([ARD, snapshot(made("ard", first(3)))], "x")


def damaged(change: Callable[[dict[str, Any]], object]) -> str:
    body = json.loads(written(accepted([ARD], "x")))
    change(body)
    return json.dumps(body)


def entry(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["previous"][ARD.name]
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no baseline"),
        ("[]", "is no baseline"),
        ("<<<<<<< HEAD", "is no baseline"),
        (damaged(lambda b: b.update(schema="other/1")), "has schema 'other/1'"),
        (damaged(lambda b: b.pop("anchor")), "KeyError"),
        (damaged(lambda b: entry(b)["cells"]["fgsm"].update(right=1)), "fgsm counts 1 right"),
        (damaged(lambda b: entry(b)["cells"]["fgsm"].update(bits="!")), "no base64"),
        (damaged(lambda b: entry(b)["cells"].pop("untouched")), "holds the cells of"),
        (damaged(lambda b: entry(b)["about"].update(seed=1)), "holds the cells of"),
        (damaged(lambda b: entry(b)["about"].update(extra=1)), "unexpected keyword"),
        (
            damaged(lambda b: entry(b)["cells"].update(fgsm=dict.fromkeys(("asks", "bits"), ""))),
            "KeyError",
        ),
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
    assert "fashion-linf/ard@0: robust 70.0 [67.1, 72.8] of 1000, clean 100.0" in ran.stdout
    again = run("baseline", "save", record, "--baseline", path, "--reason", "x")
    assert (again.exit_code, "baseline update" in again.stderr) == (2, True)

    worse = save_record(made("ard", first(690)), b"", tmp_path / "new")
    ran = run("baseline", "update", worse, "--baseline", path, "--reason", "speed")
    assert ran.exit_code == 0, ran.output
    assert "untouched lost 0, won 0; fgsm lost 10, won 0" in ran.stdout
    assert "its anchor differs: 70.0" in run("baseline", "show", "--baseline", path).stdout

    shown = json.loads(run("baseline", "show", "--baseline", path, "--json").stdout)
    assert shown["previous"]["fashion-linf/ard@0"]["robust"] == {"right": 690, "count": 1000}
    assert shown["anchor"]["fashion-linf/ard@0"]["robust"]["right"] == 700
    assert shown["reason"] == "speed"


def test_a_folder_may_hold_records_of_both_kinds(record: Path, tmp_path: Path) -> None:
    save_planted(planted({"student": 90}), b"", tmp_path / "records")
    path = tmp_path / "b.json"
    ran = run("baseline", "save", tmp_path / "records", "--baseline", path, "--reason", "x")
    assert ran.exit_code == 0, ran.output
    assert set(load_baseline(path).previous) == {ARD.name, BADNETS.name}


def test_what_networks_know_is_no_part_of_a_baseline(tmp_path: Path) -> None:
    path = next((shipped("records") / "text-privacy").glob("*.json"))
    ran = run("baseline", "save", path, "--baseline", tmp_path / "b.json", "--reason", "x")
    assert ran.exit_code == 2
    assert ran.stderr.strip().endswith("which is not judged example by example")
    assert str(path) in ran.stderr


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
