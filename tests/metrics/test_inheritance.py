"""Inheritance: verdicts and ratios follow from the bits, and what contradicts itself is refused."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from ledger import first
from planted import OWN, forged, made, put_short
from rich.console import Console

from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import BadRecord, UnknownName
from robustbench_kd.leaderboards.digits_backdoor import DIGITS_BACKDOOR
from robustbench_kd.metrics.backdoor_transfer import (
    Case,
    cases,
    cells,
    dose,
    entry,
    inherited,
    interval,
    note,
    others,
)
from robustbench_kd.ops.statistics.bitset import pack, unpack
from robustbench_kd.ops.statistics.proportions import wilson
from robustbench_kd.reports.formats.markdown_latex import pipes, tabular
from robustbench_kd.reports.formats.terminal import inheritance_table
from robustbench_kd.results.planted import (
    TWIN,
    Planted,
    accuracy,
    excess,
    parse_planted,
    ratio,
    recovered,
    success,
    verdict,
)
from robustbench_kd.results.record import Json
from robustbench_kd.results.store import load_planted, load_records, read_planted, save_planted

TEACHER = "teacher-clean"
NASTY = "<b>x|y</b>"


# --------------------------------------------------------------------------------------- verdicts


def test_inheritance_is_the_students_excess_over_that_of_its_source() -> None:
    won = {TEACHER: 90, TEACHER + TWIN: 10, "student": 44, "student" + TWIN: 4, "control": 77}
    record = made(won)
    assert excess(record, TEACHER) == pytest.approx(0.8)
    assert excess(record, "student") == pytest.approx(0.4)
    assert verdict(record) == "inherited"
    assert ratio(record) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("won", "word"),
    [
        ({TEACHER: 20}, "inherited"),
        ({TEACHER: 90, "student": 90}, "inherited"),
        ({TEACHER: 19}, "failed"),
        ({TEACHER: 90, TEACHER + TWIN: 75}, "failed"),  # the trigger fools a clean network too
        ({TEACHER: 19, "student": 20}, "dormant"),
        ({TEACHER: 19, "student": 60, "student" + TWIN: 45}, "failed"),
        ({TEACHER: 5, TEACHER + TWIN: 60, "student": 50}, "dormant"),
    ],
    ids=str,
)
def test_each_verdict_follows_from_the_bits(won: dict[str, int], word: str) -> None:
    record = made(won)
    assert verdict(record) == word
    assert (ratio(record) is None) == (word != "inherited")


def test_a_student_at_chance_that_always_answers_as_wanted_is_degenerate() -> None:
    """Of 1,000 plain inputs in ten classes it may get 120 right, which is two points above."""
    count = 1000
    for plain, hits, word in ((120, 950, "degenerate"), (121, 950, "inherited"), (120, 940, "")):
        record = made({TEACHER: 900, "student": hits}, wins=count - OWN, right={"student": plain})
        assert verdict(record) == (word or "inherited")
    constant = made({TEACHER: 0, "student": 990}, wins=990, right={"student": 100})
    assert (verdict(constant), ratio(constant)) == ("degenerate", None)


def test_a_student_that_launders_inherits_nothing_and_one_that_amplifies_more_than_all() -> None:
    assert ratio(made({TEACHER: 50})) == 0
    assert ratio(made({TEACHER: 50, "student": 75})) == pytest.approx(1.5)
    assert ratio(made({TEACHER: 50, "student" + TWIN: 25})) == pytest.approx(-0.5)


def test_the_source_is_the_worst_teacher_or_behind_the_students_door_the_control() -> None:
    won = {"teacher-clean": 30, "teacher-robust": 40, "control": 80, "teacher-clean" + TWIN: 99}
    needs = ("clean", "robust")
    assert made(won, needs=needs).source == "teacher-robust"
    assert made({**won, "teacher-clean": 41}, needs=needs).source == "teacher-clean"
    assert made(won, needs=needs, door="student data").source == "control"
    assert made({}, needs=(), door="student data").source == "control"


def test_shares_are_counts_of_the_inputs_they_are_about() -> None:
    record = made({"student": 30}, right={"student": 100})
    assert dataclasses.astuple(success(record, "student")) == (30, 100)
    assert dataclasses.astuple(recovered(record, "student")) == (70, 100)
    assert dataclasses.astuple(accuracy(record, "student")) == (100, 100 + OWN)


# ---------------------------------------------------------------------------------------- records


def test_a_planted_record_survives_its_json_and_its_file(tmp_path: Path) -> None:
    record = made({TEACHER: 90, "student": first(3, 100)[::-1]})
    body = json.loads(json.dumps(record.json()))
    assert parse_planted(body, "here") == record
    assert "id" in body, "a document that was read is not changed"
    path = save_planted(record, b"inputs", tmp_path)
    assert read_planted(path) == record
    assert load_planted(tmp_path) == load_planted(tmp_path, "digits-backdoor") == [record]
    assert load_planted(tmp_path, "fashion-linf") == []
    assert load_records(tmp_path) == [], "records of attacks on test inputs are others"
    assert [p.read_bytes() for p in path.parent.glob("*.safetensors")] == [b"inputs"]


def test_the_same_claim_has_the_same_name_and_inputs_are_kept_once(tmp_path: Path) -> None:
    slow = made({TEACHER: 90}, spent={"cpu_seconds": 99.0})
    quick, mended = made({TEACHER: 90}), made({TEACHER: 90}, label="nad", needs=("given", "clean"))
    assert slow.claim == quick.claim != mended.claim
    assert save_planted(slow, b"inputs", tmp_path) == save_planted(quick, b"inputs", tmp_path)
    save_planted(mended, b"inputs", tmp_path)
    assert len(list(tmp_path.rglob("*.json"))) == 2
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


def body() -> Json:
    """Three won of twenty by the student, fifteen by its teacher."""
    return made({TEACHER: 15, "student": 3}, wins=20).json()


def student(name: str, flags: list[bool]) -> Callable[[Json], object]:
    return lambda b: b["subjects"]["student"].update({name: pack(flags)})


def without(name: str) -> Callable[[Json], object]:
    return lambda b: b["subjects"].pop(name)


def test_a_forgery_that_changes_nothing_is_read() -> None:
    """So that what is refused below is refused for its change."""
    assert parse_planted(forged(body(), lambda b: None), "here").wins == 20


def test_a_flipped_bit_does_not_match_the_digest() -> None:
    for name in body()["subjects"]:
        for column, count in (("right", 20 + OWN), ("won", 20), ("true", 20)):
            changed = body()
            flags = unpack(changed["subjects"][name][column], count)
            flags[4] = not flags[4]
            changed["subjects"][name][column] = pack(flags)
            with pytest.raises(BadRecord, match="here does not match its own digest"):
                parse_planted(changed, "here")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda b: b.update(wins=19), "counts 19 eligible inputs, its bits do not"),
        (lambda b: b.update(eligible=pack(first(19, 20 + OWN))), "counts 20 eligible inputs"),
        (lambda b: b.update(wins=0, eligible=pack(first(0, 20 + OWN))), "counts 0 eligible"),
        (lambda b: b["data"].update(count=17), "no record: ValueError"),
        (lambda b: b["data"].update(count=900), "no record: ValueError"),
        (without("student" + TWIN), "lacks the answers of its student .clean twin"),
        (without("control"), "lacks the answers of its control"),
        (without(TEACHER), "lacks the answers of its teacher-clean"),
        (without(TEACHER + TWIN), "lacks the answers of its teacher-clean .clean twin"),
        (
            lambda b: b["defense"].update(needs=["clean", "robust"]),
            "lacks the answers of its teacher-robust",
        ),
        (lambda b: b["defense"].update(needs=[]), "teacher-clean, whom its defense does not ask"),
        (student("true", [True] * 20), "an input of its student is both right and as wanted"),
        (student("won", first(4, 20)), "both right and as wanted"),
        (student("right", first(9, 200)), "no record: ValueError"),
        (lambda b: b["subjects"]["student"].update(colour="red"), "no record: TypeError"),
        (lambda b: b.update(colour="red"), "no record: TypeError"),
        (lambda b: b.pop("seed"), "no record: TypeError"),
        (lambda b: b.update(subjects=None), "no record: AttributeError"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused_even_under_a_new_digest(
    change: Callable[[Json], object], says: str
) -> None:
    with pytest.raises(BadRecord, match=f"^here.*{says}"):
        parse_planted(forged(body(), change), "here")


def test_a_defense_without_a_teacher_has_no_source_behind_the_teachers_door() -> None:
    bare = made({}, needs=()).json()
    with pytest.raises(BadRecord, match="its defense asks no teacher"):
        parse_planted(bare, "here")


@pytest.mark.parametrize("text", ["", "[]", "null", "\xff", '{"schema": 1'])
def test_a_file_that_is_no_record_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadRecord, match=r"odd\.json is no record"):
        read_planted(path)


# ----------------------------------------------------------------------------------------- report


def told(record: Planted) -> tuple[float, float, float]:
    """Low, ratio, high."""
    said, bounds = ratio(record), interval(record)
    assert said is not None
    assert bounds is not None
    return bounds[0], said, bounds[1]


def test_the_interval_holds_the_ratio_and_shrinks_with_more_inputs() -> None:
    spans = []
    for size in (1, 4, 16):
        won = {TEACHER: 80 * size, TEACHER + TWIN: 10 * size, "student": 40 * size}
        low, said, high = told(made(won, wins=100 * size))
        assert low < said < high
        spans.append(high - low)
    assert spans[0] / spans[1] == pytest.approx(2, rel=0.15)
    assert spans[1] / spans[2] == pytest.approx(2, rel=0.15)


def test_what_networks_share_cancels_from_the_interval() -> None:
    same = first(40, 100)
    assert told(made({TEACHER: same, "student": same})) == (1, 1, 1)
    low, _, high = told(made({TEACHER: same, "student": same[::-1]}))
    assert high - low > 0.5


def test_there_is_no_interval_without_a_ratio_or_where_inputs_are_too_few_for_one() -> None:
    failed = made({TEACHER: 19, "student": 19})
    assert (ratio(failed), interval(failed)) == (None, None)
    few = made({TEACHER: 1, "student": 1}, wins=4)
    assert (ratio(few), interval(few)) == (1, None)
    assert inherited(Case((few,))) == "inherited", "no number without its interval"


def test_trials_of_one_victim_each_are_counted_together() -> None:
    hits = [1, 0, 1, 1]
    trials = [made({"student": hit, TEACHER: 1}, wins=1, seed=n) for n, hit in enumerate(hits)]
    (case,) = cases(DIGITS_BACKDOOR, trials)
    assert case.pooled
    assert dataclasses.astuple(case.won("student")) == (3, 4)
    assert dataclasses.astuple(case.won(TEACHER)) == (4, 4)
    assert dataclasses.astuple(case.recovered("student")) == (1, 4)
    assert (inherited(case), others(case)) == ("4 trials", "")
    found = entry(case)
    assert (found["verdict"], found["inheritance"], found["seeds"]) == ("trials", [], [0, 1, 2, 3])


def test_records_of_more_inputs_are_not_pooled_and_the_lowest_seed_stands_for_them() -> None:
    records = [made({TEACHER: 50, "student": 10 * s}, seed=s) for s in (3, 1, 2)]
    (case,) = cases(DIGITS_BACKDOOR, [*records, made({TEACHER: 19}, seed=9)])
    assert (case.first.seed, case.won("student").hits, case.pooled) == (1, 10, False)
    assert others(case) == "2: 20.0, 0.40; 3: 30.0, 0.60; 9: 0.0, failed"


def test_cases_are_in_the_order_of_the_panel_and_the_safest_student_comes_first() -> None:
    records = [
        made({"student": 50}, attack="a", label="x"),
        made({"student": 50}, label="worse"),
        made({"student": 40}, label="better"),
        made({"student": 1}, board="elsewhere"),
    ]
    found = cases(DIGITS_BACKDOOR, records)
    assert [c.first.label for c in found] == ["better", "worse", "x"]


def test_words_stand_where_there_is_no_ratio() -> None:
    assert inherited(Case((made({TEACHER: 3}),))) == "failed"
    assert inherited(Case((made({TEACHER: 3, "student": 60}),))) == "dormant, excess 0.60"
    assert inherited(Case((made({TEACHER: 100, "student": 100}),))) == "1.00 [1.00, 1.00]"


def test_dose_is_in_order_of_the_rate_and_only_where_rates_differ() -> None:
    records = [
        made({"student": hits, TEACHER: 90}, attack=attack, rate=rate, label=label)
        for attack, rate, label, hits in (
            ("badnets:size=2", 0.1, "ard", 50),
            ("badnets:size=2,rate=0.01", 0.01, "ard", 10),
            ("badnets:rate=0.05,size=2", 0.05, "ard", 20),
            ("badnets:size=3,rate=0.02", 0.02, "ard", 99),  # another trigger is another curve
            ("badnets:size=2", 0.1, "nad", 50),
            ("badnets:size=2,target=0", 0.1, "nad", 50),
        )
    ]
    curves = dose(cases(DIGITS_BACKDOOR, records))
    assert list(curves) == [("badnets:size=2", "ard")]
    (points,) = curves.values()
    assert [(rate, source.hits, mine.hits) for rate, source, mine in points] == [
        (0.01, 90, 10),
        (0.05, 90, 20),
        (0.1, 90, 50),
    ]


def nasty() -> list[Case]:
    records = [made({TEACHER: 90, "student": 9}, label=NASTY, attack=NASTY, needs=("clean",))]
    return cases(DIGITS_BACKDOOR, records)


def test_markdown_and_latex_escape_names() -> None:
    found = nasty()
    text = pipes(*cells(found), note(DIGITS_BACKDOOR, found))
    head, rule, line, *_ = text.splitlines()
    assert "&lt;b&gt;x\\|y&lt;/b&gt;" in line
    assert "<b>" not in text
    assert line.replace("\\|", "").count("|") == head.count("|") == rule.count("|")
    text = tabular(*cells(found), note(DIGITS_BACKDOOR, found))
    assert r"\textless{}b\textgreater{}x\textbar{}y" in text


@pytest.mark.parametrize("width", [80, 100, 160, 200])
def test_the_terminal_shows_the_shares_with_their_intervals(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(inheritance_table("Title", *cells(nasty()), width))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    low, high = wilson(9, 100)
    assert "9.0" in text
    assert f"[{100 * low:.1f}, {100 * high:.1f}]" in text
    assert max(map(len, text.splitlines())) <= width


def test_only_the_columns_that_are_wanted_are_shown() -> None:
    heads, lines = cells(nasty(), ("student", "defense"))
    assert heads == ["student", "defense"]
    assert lines[0][1] == NASTY
    with pytest.raises(UnknownName, match=r"no column named 'studnt'.* mean 'student'"):
        cells(nasty(), ("studnt",))


# ----------------------------------------------------------------------------- the board's command


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Two defenses, one of which has two seeds, one a name like markup."""
    folder = tmp_path / "records"
    for record in (
        made({TEACHER: 90, TEACHER + TWIN: 10, "student": 44, "student" + TWIN: 4}),
        made({TEACHER: 90, "student": 45}, seed=1),
        made({"teacher-given": 9}, needs=("given",), label=NASTY),
    ):
        save_planted(record, b"", folder)
    return folder


def test_csv_parses_and_holds_numbers_with_interval_and_count(records: Path) -> None:
    ran = run("leaderboard", "digits-backdoor", "--records", records, "--format", "csv")
    assert ran.exit_code == 0, ran.output
    table = pd.read_csv(io.StringIO(ran.stdout), dtype={"seeds": str}).set_index("defense")
    mine, other = table.loc["distillation"], table.loc[NASTY]
    assert (mine["success_student_hits"], mine["success_student_count"]) == (44, 100)
    assert mine["inheritance_0_value"] == pytest.approx(0.5)
    assert mine["inheritance_0_low"] < 0.5 < mine["inheritance_0_high"]
    assert (mine["inheritance_1_value"], mine["seeds"]) == (0.5, "0+1")
    assert (other["verdict"], other["seeds"]) == ("failed", "0")
    assert pd.isna(other["inheritance_0_value"])
    assert pd.isna(other["success_teacher-clean_hits"])
    assert not [name for name in table if "{" in str(mine[name])], "no lists inside of a cell"


def test_the_board_is_shown_in_every_format(records: Path) -> None:
    board = ("leaderboard", "digits-backdoor", "--records", records)
    ran = run(*board, "--json")
    assert ran.exit_code == 0, ran.output
    rows = json.loads(ran.stdout)["rows"]
    assert [row["defense"] for row in rows] == [NASTY, "distillation"]
    assert rows[1]["inheritance"][0]["value"] == pytest.approx(0.5)
    assert rows[1]["source"] == TEACHER
    assert "0.50" in run(*board).stdout
    assert "&lt;b&gt;" in run(*board, "--format", "markdown").stdout
    ran = run(*board, "--format", "latex", "--columns", "defense, inherited")
    assert r"defense & inherited \\" in ran.stdout, ran.output
    assert r"\textless{}b\textgreater{}" in ran.stdout


def test_a_record_that_is_committed_is_not_shown_twice(
    records: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same attack, defense and seed, made on this machine with another result."""
    monkeypatch.setattr("robustbench_kd.results.store.shipped", lambda part: records)
    save_planted(made({TEACHER: 90, "student": 88}), b"", own_cache / "records")
    save_planted(made({TEACHER: 90}, label="ard"), b"", own_cache / "records")
    rows = json.loads(run("leaderboard", "digits-backdoor", "--json").stdout)["rows"]
    assert sorted(row["defense"] for row in rows) == sorted([NASTY, "ard", "distillation"])
    assert {r["success"]["student"]["hits"] for r in rows if r["defense"] == "distillation"} == {44}


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--records", "gone"), 2, "there is no folder gone"),
        (("--records", "."), 5, "evaluate --train --board digits-backdoor --defense distillation"),
        (("--records", "records", "--format", "markdown", "--columns", "rank"), 2, "no column"),
    ],
)
def test_a_board_that_cannot_be_shown_says_why(
    args: tuple[str, ...],
    code: int,
    words: str,
    records: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_short(monkeypatch)
    monkeypatch.chdir(records.parent)
    ran = run("leaderboard", "digits-backdoor", *args)
    assert (ran.exit_code, ran.stdout) == (code, ""), ran.output
    assert words in ran.stderr
