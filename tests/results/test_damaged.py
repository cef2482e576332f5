"""A folder with damaged records in it: each is named and refused, the rest stay usable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ledger import cell, first, made

from robustbench_kd.cli.main import main
from robustbench_kd.core.paths import shipped
from robustbench_kd.results.planted import SCHEMA as PLANTED
from robustbench_kd.results.record import digest
from robustbench_kd.results.store import take_stock

BOARD = "fashion-linf"


def board(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["leaderboard", BOARD, "--records", str(folder), *args])


def put(folder: Path, name: str, body: object) -> Path:
    path = folder / BOARD / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")
    return path


def signed(body: dict[str, object]) -> dict[str, object]:
    body = {key: value for key, value in body.items() if key != "id"}
    return {**body, "id": digest(body)}


GOOD = made("good", first(600)).json()
DAMAGE: dict[str, tuple[object, str]] = {
    "truncated": (json.dumps(GOOD)[:700], "is no record"),
    "empty": ("", "is no record"),
    "a list": ([GOOD], "it holds a list"),
    "nested": ("[" * 100_000, "is no record"),
    "edited": ({**GOOD, "seed": 9}, "its own digest"),
    "nameless": ({k: v for k, v in GOOD.items() if k != "id"}, "is no record"),
    "of the future": (signed({**GOOD, "schema": "robustbench-kd.record/9"}), "record/9"),
    "of another kind": (signed({**GOOD, "schema": PLANTED}), PLANTED),
    "contradicting": (signed({**GOOD, "robust": {**GOOD["robust"], "hits": 1}}), "worst case"),
    "without a size": (signed({**GOOD, "model": {"weights": "w", "net": "n"}}), "lacks the macs"),
    "without a control": (signed({**GOOD, "cells": GOOD["cells"][1:]}), "lacks the control"),
    "not a number": (json.dumps(GOOD).replace(": 1.5", ": NaN"), "is no record"),
    "a copy": (GOOD, "is a copy of good.json"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_named_and_the_rest_is_ranked(tmp_path: Path, damage: str) -> None:
    body, words = DAMAGE[damage]
    put(tmp_path, "good.json", GOOD)
    put(tmp_path, "other.json", made("other", first(300)).json())
    bad = put(tmp_path, "wrong.json", body)
    before = bad.read_bytes()
    ran = board(tmp_path, "--json")
    assert ran.exit_code == 2
    (said,) = ran.stderr.splitlines()
    assert said.startswith("robustbench-kd: refused: ")
    assert str(bad) in said
    assert words in said
    found = json.loads(ran.stdout)
    assert [row["defense"] for row in found["rows"]] == ["good", "other"]
    assert len(found["refused"]) == 1
    assert bad.read_bytes() == before


def test_where_all_is_damaged_nothing_was_evaluated(tmp_path: Path) -> None:
    put(tmp_path, "wrong.json", "{")
    ran = board(tmp_path)
    assert (ran.exit_code, ran.stdout) == (5, "")
    assert [line.partition(": ")[2][:7] for line in ran.stderr.splitlines()] == [
        "refused",
        "there i",
    ]


@pytest.mark.parametrize("form", ["csv", "markdown", "latex"])
def test_another_protocol_is_named_where_the_format_has_no_place_for_it(
    tmp_path: Path, form: str
) -> None:
    put(tmp_path, "good.json", GOOD)
    put(
        tmp_path, "mixed.json", made("mixed", first(9), cells=(cell("untouched", first(9)),)).json()
    )
    ran = board(tmp_path, "--format", form)
    assert ran.exit_code == 0, ran.output
    assert "mixed" not in ran.stdout
    assert "not ranked: mixed, seed 0" in ran.stderr
    assert "another panel of attacks" in ran.stderr


@pytest.mark.parametrize("name", ["digits-poisoning", "text-privacy"])
def test_boards_of_training_data_stay_usable_too(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    source = next(iter(sorted((shipped("records") / name).glob("*.json"))))
    shutil.copy(source, tmp_path / name / "good.json")
    (tmp_path / name / "wrong.json").write_text("{", encoding="utf-8")
    asked = ["leaderboard", name, "--records", str(tmp_path), "--format"]
    ran = CliRunner().invoke(main, [*asked, "csv"])
    assert ran.exit_code == 2, ran.output
    assert "wrong.json is no record" in ran.stderr
    assert len(ran.stdout.splitlines()) == 2
    found = json.loads(CliRunner().invoke(main, [*asked, "json"]).stdout)
    assert len(found["rows"]) == 1
    (refused,) = found["refused"]
    assert "wrong.json is no record" in refused
    (tmp_path / name / "wrong.json").unlink()
    assert json.loads(CliRunner().invoke(main, [*asked, "json"]).stdout)["refused"] == []


PROBED_ELSEWHERE = next((shipped("records") / "text-privacy").glob("*.json"))
FOREIGN: dict[str, tuple[object, str]] = {
    "of a kind that no section knows": (signed({**GOOD, "schema": "somebody/1"}), "knows these"),
    "of a board that is not here": (signed({**GOOD, "board": "fashion-lin"}), "'fashion-linf'?"),
    "of a kind that its board does not rank": (
        signed({**json.loads(PROBED_ELSEWHERE.read_text(encoding="utf-8")), "board": BOARD}),
        "does not rank",
    ),
}
KNOWN = {name: one for name, one in DAMAGE.items() if name != "of another kind"}


@pytest.mark.parametrize("damage", [*KNOWN, *FOREIGN])
def test_a_report_names_what_is_damaged_and_shows_the_rest(tmp_path: Path, damage: str) -> None:
    body, words = (KNOWN | FOREIGN)[damage]
    put(tmp_path / "r", "good.json", GOOD)
    put(tmp_path / "r", "other.json", made("other", first(300)).json())
    bad = put(tmp_path / "r", "wrong.json", body)
    page = tmp_path / "page.md"
    asked = ["report", str(tmp_path / "r"), "--markdown", str(page), "--json"]
    ran = CliRunner().invoke(main, asked)
    assert ran.exit_code == 2, ran.output
    (said,) = ran.stderr.splitlines()
    assert said.startswith(f"robustbench-kd: refused: {bad}")
    assert words in said
    found = json.loads(ran.stdout)
    assert found["records"] == 2
    assert [" ".join(one.split()) for one in found["refused"]] == [said.partition("refused: ")[2]]
    text = page.read_text(encoding="utf-8")
    assert "| good |" in text
    assert "| other |" in text


def test_a_site_names_what_is_damaged_and_shows_the_rest(tmp_path: Path) -> None:
    put(tmp_path / "r", "good.json", GOOD)
    put(tmp_path / "r", "wrong.json", "{")
    out = tmp_path / "site"
    ran = CliRunner().invoke(
        main, ["leaderboard", "build", "--records", str(tmp_path / "r"), "--out", str(out)]
    )
    assert (ran.exit_code, ran.stdout) == (2, f"{out / 'index.html'}: 1 records\n")
    assert "wrong.json is no record" in ran.stderr
    assert [path.name for path in (out / "records" / BOARD).iterdir()] == ["good.json"]


def test_where_all_is_damaged_no_page_is_written(tmp_path: Path) -> None:
    bad, page = put(tmp_path, "wrong.json", "{"), tmp_path / "page.html"
    ran = CliRunner().invoke(main, ["report", str(bad), "--html", str(page)])
    assert (ran.exit_code, ran.stdout, page.exists()) == (5, "", False)
    assert [line.partition(": ")[2][:7] for line in ran.stderr.splitlines()] == [
        "refused",
        "there i",
    ]


def test_a_copy_in_another_folder_is_named_by_its_path(tmp_path: Path) -> None:
    one, other = (put(tmp_path / name, "good.json", GOOD) for name in ("a", "b"))
    page = tmp_path / "page.md"
    ran = CliRunner().invoke(main, ["report", str(one), str(other), "--markdown", str(page)])
    assert (ran.exit_code, ran.stdout) == (2, f"{page}: 1 records\n")
    assert f"{other} is a copy of {one}; remove one of them" in ran.stderr


def test_a_sound_folder_refuses_nothing(tmp_path: Path) -> None:
    put(tmp_path, "good.json", GOOD)
    assert take_stock(tmp_path, BOARD).refused == ()
    assert board(tmp_path).exit_code == 0


@pytest.mark.parametrize("args", [("--told",), ("--max-macs", "1k"), ("--teacher", "nobody")])
def test_a_choice_that_leaves_nobody_has_its_code(tmp_path: Path, args: tuple[str, ...]) -> None:
    put(tmp_path, "good.json", GOOD)
    ran = board(tmp_path, *args)
    assert ran.exit_code == (2 if "nobody" in args else 5)
    assert len(ran.stderr.splitlines()) == 1


def test_records_that_lie_directly_in_the_folder_are_found_and_those_of_other_boards_left(
    tmp_path: Path,
) -> None:
    for name, body in (
        ("good.json", GOOD),
        ("elsewhere.json", made("a", first(9), board="digits-linf").json()),
        ("cut.json", "{"),
    ):
        put(tmp_path, name, body).rename(tmp_path / name)
    ran = board(tmp_path, "--json")
    found = json.loads(ran.stdout)
    assert ran.exit_code == 2
    assert [row["defense"] for row in found["rows"]] == ["good"]
    (said,) = found["refused"]
    assert str(tmp_path / "cut.json") in said
