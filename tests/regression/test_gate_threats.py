"""The gate on every threat: what a student memorised, how often a backdoor succeeds, and so on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from gates import run

from records import (
    backdoor_record,
    bias_record,
    canary_record,
    evasion_record,
    text_to_image_record,
)
from robustbench_kd.core.paths import shipped
from robustbench_kd.regression.baseline import accepted, save_baseline
from robustbench_kd.regression.decision import Rules
from robustbench_kd.regression.gate import Finding, Gate, gate
from robustbench_kd.regression.pairing import pairs
from robustbench_kd.regression.snapshot import Snapshot, snapshot
from robustbench_kd.reports.formats.gate_ci import as_junit, outputs
from robustbench_kd.reports.formats.gate_text import as_markdown, headline, lines
from robustbench_kd.results.record import Bits, Column, Record
from robustbench_kd.results.store import read_record, save_record

CANDIDATES = 10_000


def other_weights(record: Record) -> Record:
    """The same record about another network."""
    student = {**record.student, "weights": "f" * 64}
    return replace(record, models={**record.models, "student": student})


def with_column(record: Record, attack: str, name: str, column: Column) -> Record:
    """Another network whose column of this attack is the given one."""
    label = record.typed(attack)
    result = record.attacks[label]
    student = {**result.columns["student"], name: column}
    changed = replace(result, columns={**result.columns, "student": student})
    return other_weights(replace(record, attacks={**record.attacks, label: changed}))


def gate_on(old: Record, new: Record, rules: Rules | None = None) -> Gate:
    baseline = accepted([snapshot(old)], "x")
    return gate(pairs(baseline, [snapshot(new)]), rules or Rules())


def primary(result: Gate) -> Finding:
    (finding,) = result.primary
    return finding


def canaries(exposures: Sequence[float], **fields: Any) -> Record:
    """Canaries of these exposures in bits."""
    ranks = [max(1, round(CANDIDATES / 2**bits)) for bits in exposures]
    return canary_record({"student": ranks}, candidates=CANDIDATES, **fields)


def doubled(record: Record) -> Record:
    """Another network to which each canary is exposed twice as much, as far as ranks go."""
    ranks = record.numbers("canary-exposure", "student", "rank")
    candidates = record.numbers("canary-exposure", "student", "candidates")
    exposures = [log2(of / rank) for rank, of in zip(ranks, candidates, strict=True)]
    worse = tuple(
        max(1, round(of / 4**bits)) for bits, of in zip(exposures, candidates, strict=True)
    )
    return with_column(record, "canary-exposure", "rank", worse)


EXPOSURES = np.minimum(np.random.default_rng(0).exponential(2.0, 48), 6).tolist()


@pytest.mark.parametrize("count", [20, 48])
def test_a_student_whose_canary_exposure_doubled_is_caught(count: int) -> None:
    old = canaries(EXPOSURES[:count])
    result = gate_on(old, doubled(old))
    finding = primary(result)
    assert (result.code, finding.endpoint) == (1, "exposure")
    assert finding.verdict.startswith("regressed")
    assert finding.numbers is not None
    assert finding.numbers.drop == pytest.approx(np.mean(EXPOSURES[:count]), abs=0.1)
    assert (finding.unit, finding.higher_is_better) == ("bits", False)
    better = gate_on(doubled(old), old)
    assert (better.verdict, better.code) == ("improved", 0)


def test_identical_students_pass_on_every_threat() -> None:
    for record in (
        canaries(EXPOSURES),
        backdoor_record({"student": 20}),
        bias_record({"student": 10}),
        text_to_image_record(),
        evasion_record(),
    ):
        for new in (record, other_weights(record)):
            result = gate_on(record, new)
            assert result.code == 0
            assert {finding.verdict for finding in result.findings} <= {"ok", "inconclusive"}


def test_another_training_with_as_much_exposure_passes() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        old, new = (rng.exponential(2.0, 63).tolist() for _ in range(2))
        result = gate_on(canaries(old), other_weights(canaries(new)))
        assert result.verdict != "regressed-severe"


def test_a_rise_of_a_backdoors_success_is_the_regression() -> None:
    old = backdoor_record({"student": 20})
    worse = backdoor_record({"student": 45}, label="distillation:temperature=2")
    result = gate_on(old, worse)
    finding = primary(result)
    assert (finding.verdict, finding.endpoint) == ("regressed-severe", "attack-success")
    assert finding.numbers is not None
    assert (finding.numbers.lost, finding.numbers.margin) == (25, 0.05)
    assert (finding.before and finding.before.hits, finding.after and finding.after.hits) == (
        20,
        45,
    )
    assert finding.lost == tuple(range(20, 45))
    assert [f.role for f in result.findings] == ["primary", "utility"]
    assert "a rise of 25.0 points" in headline(result)
    better = gate_on(worse, old)
    assert (better.verdict, better.code) == ("improved", 0)
    assert "a fall of 25.0 points" in headline(better)


def test_a_repair_that_removes_less_is_a_regression() -> None:
    columns = {"removed": 90, "preserved": 90}
    old = text_to_image_record({"student": columns})
    new = other_weights(text_to_image_record({"student": {**columns, "removed": 60}}))
    finding = primary(gate_on(old, new))
    assert (finding.endpoint, finding.verdict) == ("joint-removal", "regressed-severe")


def test_more_answers_with_the_payload_are_a_regression() -> None:
    old, new = (bias_record({"student": count}, count=200) for count in (4, 60))
    finding = primary(gate_on(old, other_weights(new)))
    assert (finding.endpoint, finding.verdict) == (
        "bias-rate:prompts=poisoned",
        "regressed-severe",
    )
    assert "a rise of 28.0 points" in headline(gate_on(old, other_weights(new)))


def test_a_language_model_that_lost_its_use_trips_beyond_the_margin_only() -> None:
    rng = np.random.default_rng(2)
    losses = rng.normal(250.0, 20.0, 200)  # nats a row of 64 tokens

    def record(more: float) -> Record:
        rows = tuple((losses + more * 64 + rng.normal(0, 1, 200)).round(3).tolist())
        samples = {"tokens": [64] * 200, "bytes": [200] * 200, "format": ["text"] * 200}
        fields = {"test_nll": {"student": rows}, "test_samples": samples}
        return other_weights(canaries(EXPOSURES, **fields))

    old = record(0.0)
    result = gate_on(old, replace(record(0.02), models=canaries([1.0], label="z").models))
    assert (result.code, result.findings[-1].verdict) == (0, "changed")
    result = gate_on(old, replace(record(0.2), models=canaries([1.0], label="z").models))
    assert (result.code, result.decisive.endpoint) == (1, "test-nll")
    assert "a rise of 0.20" in headline(result)


def test_the_same_weights_with_less_exposure_mean_a_weaker_attack() -> None:
    old = canaries(EXPOSURES)
    worse = doubled(old)
    same = replace(worse, models=old.models)
    assert gate_on(old, same).verdict == "ok"
    result = gate_on(same, old)
    assert (result.verdict, result.code) == ("attack-weakened", 1)
    assert "samples are worse and" in primary(result).notes[0]


def test_a_margin_in_bits_is_of_that_metric_alone() -> None:
    old = canaries(EXPOSURES)
    assert gate_on(old, doubled(old), Rules(margins={"exposure": 9.0})).verdict == "changed"
    assert gate_on(old, doubled(old), Rules(margin=9.0)).verdict == "changed"
    assert gate_on(old, doubled(old), Rules(margins={"robust-accuracy": 9.0})).code == 1


def test_students_of_all_threats_are_tested_together() -> None:
    records = [canaries(EXPOSURES), backdoor_record({"student": 20}), evasion_record()]
    shots = [snapshot(record) for record in records]
    worse: list[Snapshot] = [snapshot(doubled(records[0])), *shots[1:]]
    result = gate(pairs(accepted(shots, "x"), worse), Rules())
    assert result.code == 1
    assert result.decisive.endpoint == "exposure"
    alone = gate_on(records[0], doubled(records[0]))
    p, single = (r.decisive.numbers.p for r in (result, alone) if r.decisive.numbers)
    assert p == single  # the others have the same weights, so there is a single test
    others = [shots[0], *(snapshot(other_weights(record)) for record in records[1:])]
    words = headline(gate(pairs(accepted(shots, "x"), others), Rules()))
    assert "robust-accuracy: 1000 examples can show a drop of" in words
    assert "attack-success: 100 examples can show a rise of" in words


def test_reports_give_numbers_in_their_unit() -> None:
    old = canaries(EXPOSURES)
    result = gate_on(old, doubled(old))
    text = "\n".join(lines(result))
    assert "bits -> " in text
    assert "48 samples can show a rise of" in text
    assert "] bits" in as_markdown(result).replace("\\", "")
    printed = dict(line.split("=", 1) for line in outputs(result))
    assert (printed["drop_unit"], printed["drop_points"]) == ("bits", "")
    assert float(printed["drop"]) == pytest.approx(np.mean(EXPOSURES), abs=0.1)
    suite = ElementTree.fromstring(as_junit(result))[0]
    (failed,) = suite.findall("testcase[failure]")
    values = {p.get("name"): p.get("value") for p in failed.findall("properties/property")}
    assert values["unit"] == "bits"


@pytest.mark.parametrize(
    ("board", "pattern", "endpoint"),
    [
        ("text-privacy", "swing--seed0--*.json", "exposure"),
        ("fashion-backdoor", "badnets--distillation--seed0--*.json", "attack-success"),
    ],
)
def test_committed_records_pass_as_they_are_and_are_caught_when_they_get_worse(
    board: str, pattern: str, endpoint: str, tmp_path: Path
) -> None:
    (path,) = (shipped("records") / board).glob(pattern)
    record, baseline = read_record(path), tmp_path / "baseline.json"
    save_baseline(accepted([snapshot(record)], "release"), baseline)
    same = run("gate", path, "--baseline", baseline)
    assert (same.exit_code, same.stdout[:10]) == (0, "passed: ok"), same.output

    if board == "text-privacy":
        worse = doubled(record)
    else:
        attack = record.attack_labels[0]
        flags = record.bits(attack, "student", "attack_success").flags
        risen = Bits.of([flag or n % 8 == 0 for n, flag in enumerate(flags)])
        recovered = record.bits(attack, "student", "recovered").flags
        left = Bits.of([r and not f for r, f in zip(recovered, risen.flags, strict=True)])
        worse = with_column(record, attack, "attack_success", risen)
        worse = with_column(worse, attack, "recovered", left)
    ran = run("gate", save_record(worse, b"", tmp_path), "--baseline", baseline, "--json")
    body = json.loads(ran.stdout)
    assert (ran.exit_code, body["verdict"]) == (1, "regressed-severe"), ran.output
    assert body["findings"][0]["endpoint"] == endpoint
    assert not body["findings"][0]["higher_is_better"]
