"""The GitHub Action: its scripts do what they say, and no input is run as code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from records import evasion_record
from robustbench_kd.cli.gate import CODES
from robustbench_kd.core.registry import board_of, entries
from robustbench_kd.regression.baseline import accepted, save_baseline
from robustbench_kd.regression.decision import MEANS
from robustbench_kd.regression.snapshot import NLL_MARGIN, TEST_NLL, metric_of, snapshot
from robustbench_kd.results.store import save_record

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
GATE = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")


def test_inputs_reach_the_scripts_through_the_environment_only() -> None:
    used = set()
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
        used |= set(re.findall(r"inputs\.([\w-]+)", " ".join(step["env"].values())))
    assert used == set(ACTION["inputs"])


@pytest.mark.parametrize(("hits", "code"), [(500, 0), (400, 1)])
def test_the_gate_of_the_action_writes_its_reports_and_returns_its_code(
    hits: int, code: int, tmp_path: Path
) -> None:
    save_baseline(accepted([snapshot(evasion_record())], "x"), tmp_path / "b.json")
    record = evasion_record("ard", hits, weights="new")
    path = save_record(record, b"", tmp_path / "re cords")
    tool = tmp_path / "bin" / "robustbench-kd"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/bash\nexec "{sys.executable}" -m robustbench_kd.cli.main "$@"\n')
    tool.chmod(0o755)
    given = {name: str(value.get("default", "")) for name, value in ACTION["inputs"].items()}
    given |= {"baseline": "b.json", "records": f"{path}\n", "reports": "out put"}
    words = {
        name: given[re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", text)[1]]  # type: ignore[index]
        for name, text in GATE["env"].items()
    }
    files = {"GITHUB_STEP_SUMMARY": "summary", "GITHUB_OUTPUT": "outputs"}
    room = {name: str(tmp_path / file) for name, file in files.items()}
    ran = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", GATE["run"]],
        cwd=tmp_path,
        env={**os.environ, **words, **room, "PATH": f"{tool.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert ("::error " in ran.stdout + ran.stderr) == bool(code)
    reports = {path.name for path in (tmp_path / "out put").iterdir()}
    assert reports == {"gate.md", "gate.xml", "gate.sarif", "gate.json"}
    assert "1000 examples can show a drop of" in (tmp_path / "summary").read_text()
    values = dict(line.split("=", 1) for line in (tmp_path / "outputs").read_text().splitlines())
    assert values["exit_code"] == str(code)
    declared = re.findall(r"steps\.gate\.outputs\.(\w+)", str(ACTION["outputs"]))
    assert set(declared) == set(values)


def test_a_users_network_is_attacked_with_the_options_that_were_given(tmp_path: Path) -> None:
    tool = tmp_path / "bin" / "robustbench-kd"
    tool.parent.mkdir()
    tool.write_text('#!/bin/bash\nprintf "[%s]" "$@"; echo\n')
    tool.chmod(0o755)
    given = dict.fromkeys(GATE["env"], "") | {
        "MODEL": "a.b:c; touch harm",
        "BOARD": "digits-linf",
        "ATTACKS": "fgsm pgd:steps=5",
        "LIMIT": "50",
        "BASELINE": "b",
        "REPORTS": "r",
    }
    ran = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", GATE["run"]],
        cwd=tmp_path,
        env={**os.environ, **given, "PATH": f"{tool.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    evaluate, gate = ran.stdout.splitlines()
    before, fresh, after = re.split(r"\[--out\]\[([^]]+)\]", evaluate)
    assert before == "[evaluate][--board][digits-linf]"
    assert after == (
        "[--model][a.b:c; touch harm][--limit][50][--attack][fgsm][--attack][pgd:steps=5]"
    )
    # An empty folder outside of the checkout: records in the pull request are not gated.
    assert not Path(fresh).is_relative_to(tmp_path)
    assert list(Path(fresh).iterdir()) == []
    assert gate.startswith(f"[gate][{fresh}][--baseline][b][--board][digits-linf]")
    assert gate.endswith("[--github]")
    assert not (tmp_path / "harm").exists()


def test_the_how_to_says_what_the_code_says() -> None:
    text = (ROOT / "docs" / "gate.md").read_text()
    rows = dict(re.findall(r"^\| ([\w-]+) \| ([^|]+) \|$", text, re.M))
    rows = {k: v.replace("`", "") for k, v in rows.items() if k not in ("verdict", "---")}
    codes = dict(re.findall(r"^  (\d+)  (.+)$", CODES, re.M))
    assert rows == {**codes, **MEANS}
    names = set(re.findall(r"^ {10}(\w[\w-]*): ", text, re.M))
    assert names
    assert names <= set(ACTION["inputs"])


def test_the_how_to_names_the_metrics_and_margins_of_the_leaderboards() -> None:
    text = (ROOT / "docs" / "gate.md").read_text()
    boards = [board_of(name) for name in entries("leaderboards")]
    for name in {*(board.rank_by for board in boards), "clean-accuracy", "utility"}:
        metric = metric_of(name)
        unit = "points" if metric.unit == "percent" else metric.unit
        margin = f"{metric.margin:g} {unit}".replace("1 points", "1 point")
        assert re.search(rf"`{metric.name}` \({margin}\)", text), (metric.name, margin)
    assert f"`{TEST_NLL}` ({NLL_MARGIN:g} nats a token)" in text
