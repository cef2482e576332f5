"""A folder with damaged records in it: each is named and refused, the rest stay usable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from records import canary_record, evasion_record, evasion_result, forged
from robustbench_kd.cli.main import main
from robustbench_kd.core.paths import shipped
from robustbench_kd.results.record import CLEAN
from robustbench_kd.results.store import inventory, load_records, take_inventory

BOARD = "fashion-linf"
GOOD = evasion_record("good", 600).json()
OTHER = evasion_record("other", 300).json()


def put(folder: Path, name: str, body: object) -> Path:
    path = folder / BOARD / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")
    return path


DAMAGE: dict[str, tuple[object, str]] = {
    "truncated": (json.dumps(GOOD)[:700], "is no record"),
    "empty": ("", "is no record"),
    "a list": ([GOOD], "it holds a list"),
    "nested": ("[" * 100_000, "is no record"),
    "edited": ({**GOOD, "seed": 9}, "its own digest"),
    "nameless": ({name: part for name, part in GOOD.items() if name != "id"}, "is no record"),
    "of the future": (
        forged(GOOD, lambda body: body.update(schema="robustbench-kd.record/9")),
        "record/9",
    ),
    "of an unknown schema": (
        forged(GOOD, lambda body: body.update(schema="somebody/1")),
        "this version reads",
    ),
    "of an older schema that it does not fit": (
        forged(GOOD, lambda body: body.update(schema="robustbench-kd.planted/1")),
        "is no record",
    ),
    "contradicting": (
        forged(
            GOOD,
            lambda body: body["attacks"]["fgsm"]["columns"]["student"]["correct"].update(ones=1),
        ),
        "its bits do not",
    ),
    "without weights": (
        forged(GOOD, lambda body: body["models"]["student"].pop("weights")),
        "lacks the weights",
    ),
    "without a control": (
        forged(GOOD, lambda body: (body["panel"].remove(CLEAN), body["attacks"].pop(CLEAN))),
        'panel lacks "clean"',
    ),
    "not a number": (json.dumps(GOOD).replace(": 1.5", ": NaN"), "is no record"),
    "a copy": (GOOD, "is a copy of good.json"),
    "of another leaderboard": (
        forged(GOOD, lambda body: body.update(board="digits-linf")),
        "is about digits-linf, and lies in a folder of fashion-linf",
    ),
    "of a leaderboard that is not here": (
        forged(GOOD, lambda body: body.update(board="fashion-lin")),
        "is about fashion-lin, and lies in a folder of fashion-linf",
    ),
    "of another kind of threat": (
        canary_record({"student": [1, 2], "control": [3, 4]}, board=BOARD).json(),
        "holds attacks on shared_train_data, and fashion-linf is about attacks on test_data",
    ),
}


def damaged_folder(folder: Path, damage: str) -> tuple[Path, str]:
    """Two good records and a damaged one: its path, and what is said of it."""
    body, words = DAMAGE[damage]
    put(folder, "good.json", GOOD)
    put(folder, "other.json", OTHER)
    return put(folder, "wrong.json", body), words


# ------------------------------------------------------------------------------------------- store


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_named_and_the_rest_is_read(tmp_path: Path, damage: str) -> None:
    bad, words = damaged_folder(tmp_path, damage)
    for stock in (take_inventory(tmp_path, BOARD), inventory(sorted(bad.parent.iterdir()))):
        assert [record.label for record in stock.records.values()] == ["good", "other"]
        (refused,) = stock.refused
        assert refused.startswith(str(bad))
        assert words in refused
        assert "\n" not in refused


def test_a_sound_folder_refuses_nothing(tmp_path: Path) -> None:
    put(tmp_path, "good.json", GOOD)
    assert take_inventory(tmp_path, BOARD).refused == ()
    assert len(load_records(tmp_path, BOARD)) == 1


def test_records_directly_in_the_folder_are_read_and_those_of_other_leaderboards_left_out(
    tmp_path: Path,
) -> None:
    elsewhere = evasion_record("a", 9, board="digits-linf").json()
    for name, body in (("good.json", GOOD), ("elsewhere.json", elsewhere), ("cut.json", "{")):
        put(tmp_path, name, body).rename(tmp_path / name)
    stock = take_inventory(tmp_path, BOARD)
    assert [record.label for record in stock.records.values()] == ["good"]
    (refused,) = stock.refused
    assert str(tmp_path / "cut.json") in refused


# ------------------------------------------------------------------------------------- leaderboards


def board(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["leaderboard", BOARD, "--records", str(folder), *args])


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_named_and_the_rest_is_ranked(tmp_path: Path, damage: str) -> None:
    bad, words = damaged_folder(tmp_path, damage)
    before = bad.read_bytes()
    ran = board(tmp_path, "--json")
    assert ran.exit_code == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"robustbench-kd: refused: {bad}")
    assert words in line
    table = json.loads(ran.stdout)
    assert [row["defense"] for row in table["rows"]] == ["good", "other"]
    assert len(table["refused"]) == 1
    assert bad.read_bytes() == before


def first_words(ran: Result) -> list[str]:
    """How each line of stderr begins after the program's name."""
    return [line.partition(": ")[2][:7] for line in ran.stderr.splitlines()]


def test_where_all_is_damaged_nothing_was_evaluated(tmp_path: Path) -> None:
    put(tmp_path, "wrong.json", "{")
    ran = board(tmp_path)
    assert (ran.exit_code, ran.stdout) == (5, "")
    assert first_words(ran) == ["refused", "there i"]


@pytest.mark.parametrize("form", ["csv", "markdown", "latex"])
def test_another_protocol_is_named_where_the_format_has_no_place_for_it(
    tmp_path: Path, form: str
) -> None:
    put(tmp_path, "good.json", GOOD)
    mixed = evasion_record("mixed", attacks={CLEAN: evasion_result(9)})
    put(tmp_path, "mixed.json", mixed.json())
    ran = board(tmp_path, "--format", form)
    assert ran.exit_code == 0, ran.output
    assert "mixed" not in ran.stdout
    assert "not ranked: mixed, seed 0" in ran.stderr
    assert "another panel of attacks" in ran.stderr


@pytest.mark.parametrize("name", ["digits-poisoning", "text-privacy"])
def test_leaderboards_of_training_data_stay_usable_too(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    source = next(iter(sorted((shipped("records") / name).glob("*.json"))))
    shutil.copy(source, tmp_path / name / "good.json")
    wrong = tmp_path / name / "wrong.json"
    wrong.write_text("{", encoding="utf-8")
    args = ["leaderboard", name, "--records", str(tmp_path), "--format"]
    ran = CliRunner().invoke(main, [*args, "csv"])
    assert ran.exit_code == 2, ran.output
    assert "wrong.json is no record" in ran.stderr
    assert len(ran.stdout.splitlines()) == 2
    table = json.loads(CliRunner().invoke(main, [*args, "json"]).stdout)
    assert len(table["rows"]) == 1
    (refused,) = table["refused"]
    assert "wrong.json is no record" in refused
    wrong.unlink()
    assert json.loads(CliRunner().invoke(main, [*args, "json"]).stdout)["refused"] == []


@pytest.mark.parametrize("args", [("--oracle",), ("--max-macs", "1k"), ("--teacher", "nobody")])
def test_a_choice_that_leaves_nobody_has_its_code(tmp_path: Path, args: tuple[str, ...]) -> None:
    put(tmp_path, "good.json", GOOD)
    ran = board(tmp_path, *args)
    assert ran.exit_code == (2 if "nobody" in args else 5)
    assert len(ran.stderr.splitlines()) == 1


# ------------------------------------------------------------------------------------------ reports


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_report_names_what_is_damaged_and_shows_the_rest(tmp_path: Path, damage: str) -> None:
    records, page = tmp_path / "r", tmp_path / "page.md"
    bad, words = damaged_folder(records, damage)
    args = ["report", str(records), "--markdown", str(page), "--json"]
    ran = CliRunner().invoke(main, args)
    assert ran.exit_code == 2, ran.output
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"robustbench-kd: refused: {bad}")
    assert words in line
    summary = json.loads(ran.stdout)
    assert summary["records"] == 2
    sentences = [" ".join(sentence.split()) for sentence in summary["refused"]]
    assert sentences == [line.partition("refused: ")[2]]
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
    assert first_words(ran) == ["refused", "there i"]


def test_a_copy_in_another_folder_is_named_by_its_path(tmp_path: Path) -> None:
    one, other = (put(tmp_path / name, "good.json", GOOD) for name in ("a", "b"))
    page = tmp_path / "page.md"
    ran = CliRunner().invoke(main, ["report", str(one), str(other), "--markdown", str(page)])
    assert (ran.exit_code, ran.stdout) == (2, f"{page}: 1 records\n")
    assert f"{other} is a copy of {one}; remove one of them" in ran.stderr


def test_a_report_refuses_records_of_a_leaderboard_that_is_not_here(tmp_path: Path) -> None:
    record = forged(GOOD, lambda body: body.update(board="fashion-lin"))
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    ran = CliRunner().invoke(main, ["report", str(path), "--html", str(tmp_path / "page.html")])
    assert ran.exit_code == 5
    assert f"{path} is about an unknown leaderboard" in ran.stderr
    assert "fashion-linf" in ran.stderr  # the nearest known one
