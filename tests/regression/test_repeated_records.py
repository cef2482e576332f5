"""Several records of one student, and one student under other code: no loss hides behind either."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from gates import flags_after, gate_on, run, save, shot

from records import evasion_record
from robustbench_kd.regression.baseline import accepted
from robustbench_kd.regression.decision import Rules
from robustbench_kd.regression.gate import gate
from robustbench_kd.regression.pairing import pairs
from robustbench_kd.regression.snapshot import Snapshot, snapshot


@pytest.mark.parametrize("broken", range(10))
def test_a_break_in_any_of_ten_runs_into_one_folder_is_caught(tmp_path: Path, broken: int) -> None:
    """The flow of docs/gate.md, again and again: the last of them alone was compared once."""
    baseline, records = tmp_path / "b.json", tmp_path / "records"
    save(records, 0)
    assert run("baseline", "save", records, "--baseline", baseline, "--reason", "x").exit_code == 0
    for n in range(1, 11):
        if n != broken + 1:
            save(records, n % 5, (n + 1) % 5 + n // 5)
    assert run("gate", records, "--baseline", baseline).exit_code == 0
    save(records, 400, broken)
    result = run("gate", records, "--baseline", baseline)
    assert result.exit_code == 1, result.output
    assert re.search(r"\d+ records are about fashion-linf/ard@0; each is tested", result.stdout)
    assert "lost 400" in result.stdout


@pytest.mark.parametrize("order", [1, -1])
def test_the_worst_of_two_runs_counts_in_either_order(order: int) -> None:
    old, runs = shot(weights="old"), [shot(2, 2), shot(80, 2)][::order]
    result = gate(pairs(accepted([old], "x"), runs), Rules())
    assert (result.code, result.verdict) == (1, "regressed-severe")
    assert len(result.primary) == 2
    assert len({finding.name for finding in result.primary}) == 2


def test_a_record_that_is_given_twice_is_tested_once() -> None:
    old, new = shot(weights="old"), shot(2, 2)
    (finding,) = gate(pairs(accepted([old], "x"), [new, new]), Rules()).primary
    assert finding.entry == old.name


def own(lost: int, won: int = 0) -> Snapshot:
    """A run of somebody's network whose weights never change."""
    flags = flags_after(lost, won)
    models = {"student": {"user_model": True}}
    return snapshot(evasion_record("mine", flags, weights="same", models=models))


def test_other_code_over_the_same_weights_is_another_network() -> None:
    """A quantised input with straight-through gradients lost 106 of 500 and passed."""
    result = gate_on(own(106), own(0))
    assert (result.code, result.verdict) == (1, "regressed-severe")
    assert "the weights are the same, so its code differs, or the attack" in str(result.findings)


def test_the_same_network_of_somebody_passes_and_a_weaker_attack_is_seen() -> None:
    assert gate_on(own(0), own(0)).verdict == "ok"
    assert gate_on(own(0, 60), own(0)).verdict == "attack-weakened"


@cache
def unlabelled(lost: int, won: int) -> Snapshot:
    return shot(lost, won)


@pytest.mark.parametrize(("students", "runs"), [(1, 200), (10, 60), (48, 40)])
def test_luck_of_the_attack_raises_no_more_alarms_with_more_students(
    students: int, runs: int
) -> None:
    """The same weights under attacks of equal strength: at most 5 % of gates fail.

    With a level of 1 % for each student, 30 % of gates over 48 students failed.
    """
    rng = np.random.default_rng(students)
    alarms = 0
    for _ in range(runs):
        ends = []
        for n in range(students):
            lost, won = rng.poisson(10, 2).tolist()
            names = {"label": f"s{n}", "weights": "same"}
            ends.append([replace(unlabelled(*end), **names) for end in ((0, 0), (lost, won))])
        olds, news = zip(*ends, strict=True)
        alarms += gate(pairs(accepted(olds, "x"), news), Rules()).code
    assert alarms / runs <= 0.05
