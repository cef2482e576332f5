"""The gate's reports: every format says the same, and no name breaks one."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from gates import OLD, gate_on, run, save, shot

from records import evasion_record, first
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.regression.baseline import accepted, save_baseline
from robustbench_kd.regression.decision import Rules
from robustbench_kd.regression.gate import gate
from robustbench_kd.regression.pairing import StudentPair, pairs
from robustbench_kd.regression.snapshot import snapshot
from robustbench_kd.reports.formats.gate_ci import MOST, as_junit, workflow_commands
from robustbench_kd.reports.formats.gate_text import ROOM, as_markdown, headline

FORMS = ("text", "json", "markdown", "github", "junit", "sarif")


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    save_baseline(accepted([OLD], "x"), path)
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("lost", "won", "code"), [(0, 0, 0), (60, 10, 1)])
def test_every_format_is_written_before_the_gate_trips_and_says_the_same(
    form: str, lost: int, won: int, code: int, baseline: Path, tmp_path: Path
) -> None:
    target = tmp_path / "reports" / "gate"
    command = ("gate", save(tmp_path, lost, won), "--baseline", baseline)
    ran = run(*command, "--format", form, "--out", f"{form}={target}")
    assert ran.exit_code == code, ran.output
    assert target.read_text(encoding="utf-8") == ran.stdout
    assert run(*command, "--format", form).stdout == ran.stdout  # no time, no chance, no path
    assert ("regressed-severe" in ran.stdout.partition("How to read")[0]) == bool(code)
    if form in ("text", "markdown", "json", "github"):
        assert "1000 examples can show a drop of" in ran.stdout


def test_junit_counts_what_it_holds() -> None:
    root = ElementTree.fromstring(as_junit(gate_on(shot(60, 10))))
    suite = root[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("6", "1", "0")
    (failed,) = suite.findall("testcase[failure]")
    values = {p.get("name"): p.get("value") for p in failed.findall("properties/property")}
    assert (values["lost"], values["won"], values["count"]) == ("60", "10", "1000")


def test_sarif_points_at_the_students_line_of_the_baseline(baseline: Path, tmp_path: Path) -> None:
    ran = run("gate", save(tmp_path, 60), "--baseline", baseline, "--format", "sarif")
    body = json.loads(ran.stdout)
    assert body["version"] == "2.1.0"
    result = body["runs"][0]["results"][0]
    assert (result["ruleId"], result["level"]) == ("robust-accuracy", "error")
    place = result["locations"][0]["physicalLocation"]
    line = baseline.read_text().splitlines()[place["region"]["startLine"] - 1]
    assert line.strip().startswith('"fashion-linf/ard@0"')
    rules = {rule["id"] for rule in body["runs"][0]["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in body["runs"][0]["results"]} == rules
    prints = [r["partialFingerprints"]["endpoint/v1"] for r in body["runs"][0]["results"]]
    assert len(set(prints)) == len(prints)


def test_an_action_gets_annotations_a_summary_and_outputs(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.setenv(name, str(tmp_path / name))
    ran = run("gate", save(tmp_path, 60, 10), "--baseline", baseline, "--github")
    assert (
        f"::error file={baseline.as_posix()},title=fashion-linf/ard@0 robust-accuracy" in ran.stdout
    )
    outputs = dict(
        line.split("=") for line in (tmp_path / "GITHUB_OUTPUT").read_text().splitlines()
    )
    assert (outputs["verdict"], outputs["exit_code"]) == ("regressed-severe", "1")
    assert outputs["drop"] == outputs["drop_points"] == "5.00"
    assert outputs["drop_unit"] == "points"
    assert (tmp_path / "GITHUB_STEP_SUMMARY").read_text().startswith("<!-- robustbench-kd:gate -->")


HOSTILE = "<script>alert(1)</script>|`x`\n::error::pwned @everyone %0A\x07"


def test_hostile_names_neither_break_a_format_nor_give_a_command() -> None:
    old, new = (shot(lost, label=HOSTILE) for lost in (0, 60))
    result = gate_on(new, old)
    assert result.verdict == "regressed-severe"
    page = as_markdown(result)
    assert "<script" not in page
    assert " @everyone" not in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {10}
    assert all(line.count("\n") == 0 for line in workflow_commands(result, "a\nb"))
    assert not any("\n" in line for line in workflow_commands(result, "a"))
    ElementTree.fromstring(as_junit(result))


def test_a_comment_keeps_below_its_limit_by_whole_sections() -> None:
    olds = [shot(label=f"{n:03}" + "x" * 150) for n in range(100)]
    news = [shot(60, label=old.label) for old in olds]
    result = gate(pairs(accepted(olds, "x"), news), Rules())
    page = as_markdown(result)
    assert len(page) <= ROOM
    assert page.rstrip().endswith("sections did not fit here.")
    assert len(list(workflow_commands(result, "f"))) == MOST
    assert f"and {100 - MOST + 1} more" in list(workflow_commands(result, "f"))[-1]


def test_the_first_line_says_what_so_many_examples_can_show() -> None:
    assert headline(gate_on(shot(0, 0))).endswith(
        "1000 examples can show a drop of 0.6 points or more"
    )
    shots = (snapshot(evasion_record("a", first(60, 100))),) * 2
    few = gate([StudentPair("x", "old", *shots)], Rules())
    assert "more than the margin: take about 310" in headline(few)
    with pytest.raises(BadSetting):
        Rules(alpha=1)


def test_a_gain_is_called_a_gain_with_its_own_p_value() -> None:
    better = gate_on(shot(10, 60))
    assert "improved" in headline(better)
    (finding,) = better.primary
    assert finding.numbers is not None
    gain = finding.numbers.gain
    assert f": a gain of 5.0 points [3.5, 6.7], p = {gain:.2g} of 1000" in headline(better)
    assert gain < 1e-9 < finding.numbers.p
    assert f"| {gain:.2g} | improved |" in as_markdown(better)
