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
from ledger import first, made

from robustbench_kd.cli.gate import CODES
from robustbench_kd.regression.baseline import accepted, save_baseline
from robustbench_kd.regression.decision import MEANS
from robustbench_kd.regression.snapshot import snapshot
from robustbench_kd.results.store import save_record

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
GATE = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")


def test_inputs_reach_the_scripts_through_the_environment_only() -> None:
    asked = set()
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
        asked |= set(re.findall(r"inputs\.([\w-]+)", " ".join(step["env"].values())))
    assert asked == set(ACTION["inputs"])


@pytest.mark.parametrize(("hits", "code"), [(500, 0), (400, 1)])
def test_the_gate_of_the_action_writes_its_reports_and_returns_its_code(
    hits: int, code: int, tmp_path: Path
) -> None:
    save_baseline(accepted([snapshot(made("ard", first(500)))], "x"), tmp_path / "b.json")
    path = save_record(made("ard", first(hits), weights="new"), b"", tmp_path / "re cords")
    tool = tmp_path / "bin" / "robustbench-kd"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/bash\nexec "{sys.executable}" -m robustbench_kd.cli.main "$@"\n')
    tool.chmod(0o755)
    given = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
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
    made_files = {one.name for one in (tmp_path / "out put").iterdir()}
    assert made_files == {"gate.md", "gate.xml", "gate.sarif", "gate.json"}
    assert "1000 examples can show a drop of" in (tmp_path / "summary").read_text()
    told = dict(line.split("=", 1) for line in (tmp_path / "outputs").read_text().splitlines())
    assert told["exit_code"] == str(code)
    wanted = re.findall(r"steps\.gate\.outputs\.(\w+)", str(ACTION["outputs"]))
    assert set(wanted) == set(told)


def test_a_network_of_ones_own_is_attacked_as_it_was_asked_for(tmp_path: Path) -> None:
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
    asked, judged = ran.stdout.splitlines()
    assert asked == (
        "[evaluate][--board][digits-linf][--out][r/records][--model][a.b:c; touch harm]"
        "[--limit][50][--attack][fgsm][--attack][pgd:steps=5]"
    )
    assert judged.startswith("[gate][r/records][--baseline][b][--board][digits-linf]")
    assert judged.endswith("[--github]")
    assert not (tmp_path / "harm").exists()


def test_the_how_to_says_what_the_code_says() -> None:
    text = (ROOT / "docs" / "gate.md").read_text()
    rows = dict(re.findall(r"^\| ([\w-]+) \| (.+) \|$", text, re.M))
    rows = {k: v.replace("`", "") for k, v in rows.items() if k not in ("code", "verdict", "---")}
    codes = dict(re.findall(r"^  (\d+)  (.+)$", CODES, re.M))
    assert rows == {**codes, **MEANS}
    names = set(re.findall(r"^ {10}(\w[\w-]*): ", text, re.M))
    assert names
    assert names <= set(ACTION["inputs"])
