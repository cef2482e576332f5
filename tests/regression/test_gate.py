"""The gate: every verdict, every code, every format, and what it takes to be fooled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from ledger import first, made
from planted import made as planted

from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import BadSetting, NothingEvaluated
from robustbench_kd.regression.baseline import accepted, save_baseline
from robustbench_kd.regression.decision import Rematch, Rules
from robustbench_kd.regression.endpoints import Asking, Pair, pairs
from robustbench_kd.regression.gate import Gate, gate
from robustbench_kd.regression.snapshot import Snapshot, snapshot
from robustbench_kd.reports.formats.gate_ci import MOST, as_junit, workflow_commands
from robustbench_kd.reports.formats.gate_text import ROOM, as_markdown, headline
from robustbench_kd.results.store import kept, save_record

COUNT = 1000
FORMS = ("text", "json", "markdown", "github", "junit", "sarif")


def moved(lost: int, won: int, count: int = COUNT) -> list[bool]:
    """The flags of a network that was right on one half, after so many were lost and won."""
    half = count // 2
    return [*([False] * lost), *([True] * (half - lost)), *first(won, count - half)]


def shot(lost: int = 0, won: int = 0, label: str = "ard", weights: str = "") -> Snapshot:
    return snapshot(made(label, moved(lost, won), weights=weights or f"{lost} {won}"))


OLD = shot(weights="old")


def held(new: Snapshot, old: Snapshot = OLD, ask: Asking | None = None) -> Gate:
    return gate(pairs(accepted([old], "x"), [new]), Rules(), ask=ask)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def laid(folder: Path, lost: int, won: int = 0, label: str = "ard", count: int = COUNT) -> Path:
    """A record on disk."""
    record = made(label, moved(lost, won, count), weights=f"{lost} {won}")
    return save_record(record, b"", folder / f"{label}-{lost}-{won}")


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    save_baseline(accepted([OLD], "x"), path)
    return path


CODES = [
    (0, 0, (), 0, "ok"),
    (4, 0, (), 0, "changed"),
    (0, 30, (), 0, "improved"),
    (28, 14, (), 1, "regressed"),
    (60, 10, (), 1, "regressed-severe"),
    (60, 10, ("--margin", "12"), 0, "changed"),
    (60, 10, ("--margin", "robust=12pp,clean=1"), 0, "changed"),
    (28, 14, ("--strict-margin",), 0, "inconclusive"),
    (28, 14, ("--strict-margin", "--on-inconclusive", "fail"), 3, "inconclusive"),
    (50, 40, (), 0, "inconclusive"),
    (50, 40, ("--on-inconclusive", "fail"), 3, "inconclusive"),
    (28, 14, ("--alpha", "0.001"), 0, "inconclusive"),
]


@pytest.mark.parametrize(("lost", "won", "more", "code", "verdict"), CODES)
def test_each_verdict_has_its_code(
    lost: int,
    won: int,
    more: tuple[str, ...],
    code: int,
    verdict: str,
    baseline: Path,
    tmp_path: Path,
) -> None:
    ran = run("gate", laid(tmp_path, lost, won), "--baseline", baseline, "--json", *more)
    assert ran.exit_code == code, ran.output
    said = json.loads(ran.stdout)
    assert (said["verdict"], said["exit_code"], said["command"]) == (verdict, code, "gate")
    one = next(one for one in said["findings"] if one["role"] == "robust")
    assert (one["numbers"]["lost"], one["numbers"]["won"]) == (lost, won)
    assert one["numbers"]["detectable"] > 0
    assert one["lost"] == list(range(lost))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("lost", "won", "code"), [(0, 0, 0), (60, 10, 1)])
def test_every_format_is_written_before_the_gate_trips_and_tells_the_same(
    form: str, lost: int, won: int, code: int, baseline: Path, tmp_path: Path
) -> None:
    target = tmp_path / "reports" / "gate"
    asked = ("gate", laid(tmp_path, lost, won), "--baseline", baseline)
    ran = run(*asked, "--format", form, "--out", f"{form}={target}")
    assert ran.exit_code == code, ran.output
    assert target.read_text(encoding="utf-8") == ran.stdout
    assert run(*asked, "--format", form).stdout == ran.stdout  # no time, no chance, no path
    assert ("regressed-severe" in ran.stdout.partition("How to read")[0]) == bool(code)
    if form in ("text", "markdown", "json", "github"):
        assert "1000 examples can show a drop of" in ran.stdout


def test_junit_counts_what_it_holds() -> None:
    root = ElementTree.fromstring(as_junit(held(shot(60, 10))))
    suite = root[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("6", "1", "0")
    (failed,) = suite.findall("testcase[failure]")
    values = {p.get("name"): p.get("value") for p in failed.findall("properties/property")}
    assert (values["lost"], values["won"], values["count"]) == ("60", "10", "1000")


def test_sarif_points_at_the_students_line_of_the_baseline(baseline: Path, tmp_path: Path) -> None:
    ran = run("gate", laid(tmp_path, 60), "--baseline", baseline, "--format", "sarif")
    body = json.loads(ran.stdout)
    assert body["version"] == "2.1.0"
    result = body["runs"][0]["results"][0]
    assert (result["ruleId"], result["level"]) == ("robust", "error")
    place = result["locations"][0]["physicalLocation"]
    line = baseline.read_text().splitlines()[place["region"]["startLine"] - 1]
    assert line.strip().startswith('"fashion-linf/ard@0"')
    rules = {rule["id"] for rule in body["runs"][0]["tool"]["driver"]["rules"]}
    assert {one["ruleId"] for one in body["runs"][0]["results"]} == rules
    prints = [one["partialFingerprints"]["endpoint/v1"] for one in body["runs"][0]["results"]]
    assert len(set(prints)) == len(prints)


def test_an_action_gets_annotations_a_summary_and_outputs(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.setenv(name, str(tmp_path / name))
    ran = run("gate", laid(tmp_path, 60, 10), "--baseline", baseline, "--github")
    assert f"::error file={baseline.as_posix()},title=fashion-linf/ard@0 robust" in ran.stdout
    outputs = dict(
        line.split("=") for line in (tmp_path / "GITHUB_OUTPUT").read_text().splitlines()
    )
    assert (outputs["verdict"], outputs["exit_code"]) == ("regressed-severe", "1")
    assert outputs["drop_points"] == "5.00"
    assert (tmp_path / "GITHUB_STEP_SUMMARY").read_text().startswith("<!-- robustbench-kd:gate -->")


HOSTILE = "<script>alert(1)</script>|`x`\n::error::pwned @everyone %0A\x07"


def test_hostile_names_neither_break_a_format_nor_give_a_command() -> None:
    old, new = (shot(lost, label=HOSTILE) for lost in (0, 60))
    judged = held(new, old)
    assert judged.verdict == "regressed-severe"
    page = as_markdown(judged)
    assert "<script" not in page
    assert " @everyone" not in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {10}
    assert all(line.count("\n") == 0 for line in workflow_commands(judged, "a\nb"))
    assert not any("\n" in line for line in workflow_commands(judged, "a"))
    ElementTree.fromstring(as_junit(judged))


def test_a_comment_keeps_below_its_limit_by_whole_sections() -> None:
    olds = [shot(label=f"{n:03}" + "x" * 150) for n in range(100)]
    news = [shot(60, label=one.label) for one in olds]
    judged = gate(pairs(accepted(olds, "x"), news), Rules())
    page = as_markdown(judged)
    assert len(page) <= ROOM
    assert page.rstrip().endswith("sections did not fit here.")
    assert len(list(workflow_commands(judged, "f"))) == MOST
    assert f"and {100 - MOST + 1} more" in list(workflow_commands(judged, "f"))[-1]


def test_the_same_weights_that_are_suddenly_robust_mean_a_weaker_attack() -> None:
    judged = held(shot(0, 30, weights="old"))
    assert (judged.verdict, judged.code) == ("attack-weakened", 1)
    assert "broke 0 more and missed 30" in judged.primary[0].notes[0]
    assert held(shot(0, 30)).verdict == "improved"  # other weights may well be better


def test_the_same_weights_that_lose_more_met_a_stronger_attack_and_pass() -> None:
    judged = held(shot(60, 5, weights="old"))
    assert (judged.verdict, judged.code) == ("ok", 0)
    assert "broke 60 more and missed 5" in judged.primary[0].notes[0]
    assert held(shot(5, 5, weights="old")).verdict == "ok"  # luck on either side


def asked(missed: tuple[int, int], old: Sequence[bool], new: Sequence[bool]) -> Asking:
    return lambda a, b: Rematch(tuple(old), tuple(new), missed, (0, 0), 0)


def test_an_attack_that_hides_a_loss_is_found_by_what_broke_the_older_network() -> None:
    new = shot(10, 10)
    assert held(new).code == 0
    judged = held(new, ask=asked((0, 25), moved(0, 0), moved(35, 10)))
    assert (judged.verdict, judged.code) == ("attack-weakened", 1)
    fair = held(new, ask=asked((3, 4), moved(0, 0), moved(10, 10)))
    assert fair.verdict == "ok"
    assert "break 3 of the old network's and 4 of the new one's" in fair.primary[0].notes[0]


def test_pairs_that_dissolve_are_not_counted() -> None:
    new = shot(28, 14)
    assert held(new).verdict == "regressed"
    judged = held(new, ask=asked((0, 0), moved(0, 0), moved(10, 9)))
    assert judged.verdict == "ok"
    one = judged.primary[0]
    assert one.numbers is not None
    assert (one.numbers.lost, one.numbers.won) == (10, 9)


def test_what_cannot_be_asked_again_is_said_and_the_bits_are_judged() -> None:
    judged = held(shot(60, 5), ask=lambda old, new: "not asked again: it is gone")
    assert judged.verdict == "regressed-severe"
    assert judged.primary[0].notes == ("not asked again: it is gone",)


def test_a_drop_since_the_anchor_fails_though_the_last_step_was_small(tmp_path: Path) -> None:
    drifted = accepted([OLD], "x").updated([shot(30)], "y")
    judged = gate(pairs(drifted, [shot(33)]), Rules())
    found = {one.against: one.verdict for one in judged.primary}
    assert found == {"previous": "ok", "anchor": "regressed-severe"}
    assert judged.code == 1
    only = gate(pairs(drifted, [shot(33)], "previous"), Rules())
    assert (only.code, len(only.primary)) == (0, 1)
    assert len(held(shot(33)).primary) == 1  # an anchor that is the previous one is tested once


def test_many_students_are_held_to_holms_values() -> None:
    olds = [shot(label=f"d{n}") for n in range(12)]
    news = [shot(28 if n == 0 else 9, 14 if n == 0 else 10, label=f"d{n}") for n in range(12)]
    assert held(news[0], olds[0]).verdict == "regressed"  # p = 0.016
    judged = gate(pairs(accepted(olds, "x"), news), Rules())
    assert judged.code == 0
    one = next(one for one in judged.primary if "/d0@" in one.entry)
    assert one.numbers is not None
    assert one.numbers.p == pytest.approx(12 * 0.0158, rel=0.05)


def test_plain_accuracy_trips_only_beyond_its_margin_and_a_single_attack_never() -> None:
    def with_clean(lost: int) -> Snapshot:
        clean = [True] * (COUNT - lost) + [False] * lost  # from those that no attack left
        return snapshot(made("ard", moved(0, 0), clean=clean, weights=str(lost)))

    assert held(with_clean(12), with_clean(0)).code == 0
    judged = held(with_clean(40), with_clean(0))
    assert (judged.verdict, judged.code) == ("regressed-severe", 1)
    assert judged.findings[0].role == "clean"

    cells = made("ard", moved(0, 0)).cells
    weak = made("ard", moved(60, 0)).cells
    old = snapshot(made("ard", moved(0, 0), cells=(cells[0], cells[1], *weak[2:])))
    new = snapshot(made("ard", moved(0, 0), cells=(cells[0], *weak[1:]), weights="w"))
    one = next(one for one in held(new, old).findings if one.endpoint == "fgsm")
    assert (one.verdict, one.trips, held(new, old).code) == ("regressed-severe", False, 0)


def test_a_rise_of_a_planted_attack_is_the_regression() -> None:
    old = snapshot(planted({"student": 20}))
    worse = snapshot(planted({"student": 45}, label="distillation:temperature=2"))
    judged = gate(pairs(accepted([old], "x"), [worse]), Rules())
    one = judged.primary[0]
    assert (one.verdict, one.endpoint) == ("regressed-severe", "withstood badnets:size=2")
    assert one.numbers is not None
    assert (one.numbers.lost, one.numbers.margin) == (25, 0.05)
    assert [one.role for one in judged.findings] == ["robust", "clean"]
    better = gate(pairs(accepted([worse], "x"), [old]), Rules())
    assert (better.verdict, better.code) == ("improved", 0)


@pytest.mark.parametrize(("more", "code"), [((), 4), (("--on-missing", "warn"), 0)])
def test_what_vanished_or_is_new_or_asks_something_else_is_not_comparable(
    more: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    path = tmp_path / "b.json"
    other = snapshot(made("rslad", moved(0, 0)))
    save_baseline(accepted([OLD, other], "x"), path)
    ard, rslad, new = laid(tmp_path, 0), laid(tmp_path, 0, label="rslad"), laid(tmp_path, 0, 0, "z")
    for given, words in (
        ((ard,), "no record is about fashion-linf/rslad@0 of the baseline"),
        ((ard, rslad, new), "fashion-linf/z@0 is not in the baseline"),
        ((ard, laid(tmp_path, 0, 0, "rslad", 500)), "differ in their numbers of examples"),
    ):
        ran = run("gate", *given, "--baseline", path, *more)
        assert ran.exit_code == code, ran.output
        assert words in ran.stdout
        assert "not-comparable" in ran.stdout.splitlines()[0]


def test_a_regression_and_a_missing_student_give_the_higher_code(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    save_baseline(accepted([OLD, shot(label="rslad")], "x"), path)
    ran = run("gate", laid(tmp_path, 60), "--baseline", path, "--json")
    assert ran.exit_code == 4
    said = json.loads(ran.stdout)
    assert said["verdict"] == "regressed-severe"
    assert said["headline"].startswith("FAILED: regressed-severe: fashion-linf/ard@0 robust")
    assert "not-comparable" in {one["verdict"] for one in said["findings"]}


def test_the_verdict_is_what_the_gate_fails_by_and_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    save_baseline(accepted([OLD, shot(label="rslad")], "x"), path)
    warned = ("--on-missing", "warn", "--on-inconclusive", "fail", "--json")
    ran = run("gate", laid(tmp_path, 50, 40), "--baseline", path, *warned)
    said = json.loads(ran.stdout)
    assert (ran.exit_code, said["verdict"]) == (3, "inconclusive")
    assert said["headline"].startswith("FAILED: inconclusive: fashion-linf/ard@0 robust")


def test_without_records_the_newest_on_this_machine_are_judged(baseline: Path) -> None:
    refused = run("gate", "--baseline", baseline)
    assert (refused.exit_code, "evaluate" in refused.stderr) == (5, True)
    for lost, when in ((60, 1), (0, 2)):
        path = save_record(made("ard", moved(lost, 0), weights=str(lost)), b"", kept())
        os.utime(path, (when, when))
    assert run("gate", "--baseline", baseline).exit_code == 0
    os.utime(path, (0, 0))
    assert run("gate", "--baseline", baseline).exit_code == 1


def test_nothing_to_judge_is_an_error() -> None:
    with pytest.raises(NothingEvaluated):
        gate([], Rules())


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--baseline", "gone.json"), 4, "baseline save RECORD... --baseline gone.json"),
        (("--margin", "two"), 2, "a number of points, such as 2, not 'two'"),
        (("--margin", "asr=2"), 2, "no margin named 'asr'; there are: robust, clean, planted"),
        (("--margin", "200"), 2, "at least 0 and below 1"),
        (("--alpha", "1"), 2, "between 0 and one half"),
        (("--out", "html=x"), 2, "--out is FORM=FILE"),
        (("--out", "json"), 2, "--out is FORM=FILE"),
        (("--out", "json=baseline.json/x"), 6, "is not a folder"),
        (("--replay", "--evidence", "gone"), 2, "there is no folder gone"),
    ],
)
def test_refusals_are_one_sentence(
    args: tuple[str, ...],
    code: int,
    words: str,
    baseline: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = laid(tmp_path, 0)
    monkeypatch.chdir(tmp_path)
    given = args if "--baseline" in args else (*args, "--baseline", baseline.name)
    ran = run("gate", record, *given)
    assert ran.exit_code == code, ran.output
    assert words in ran.stderr
    assert (len(ran.stderr.splitlines()), ran.stdout) == (1, "")


def test_the_gate_imports_neither_torch_nor_pandas_nor_numpy(
    baseline: Path, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from robustbench_kd.cli.main import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'numpy', 'pandas', 'rich') if m in sys.modules])"
    )
    command = ["gate", str(laid(tmp_path, 1)), "--baseline", str(baseline)]
    ran = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_the_first_line_says_what_the_slice_can_see() -> None:
    assert headline(held(shot(0, 0))).endswith(
        "1000 examples can show a drop of 0.6 points or more"
    )
    few = gate([Pair("x", "old", *(snapshot(made("a", first(60, 100))),) * 2)], Rules())
    assert "more than the margin: take about 310 examples" in headline(few)
    with pytest.raises(BadSetting):
        Rules(alpha=1)


def test_a_gain_is_told_as_a_gain_with_its_own_p_value() -> None:
    better = held(shot(10, 60))
    assert "improved" in headline(better)
    (one,) = better.primary
    assert one.numbers is not None
    assert f": a gain of 5.0 points [3.5, 6.7], p = {one.numbers.gain:.2g} of 1000" in headline(
        better
    )
    assert one.numbers.gain < 1e-9 < one.numbers.p
    assert f"| {one.numbers.gain:.2g} | improved |" in as_markdown(better)
