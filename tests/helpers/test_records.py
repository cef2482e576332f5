"""The records that other tests are made of are records: they survive their own JSON."""

from __future__ import annotations

import json

import pytest

from records import (
    backdoor_record,
    bias_record,
    canary_record,
    evasion_record,
    forged,
    membership_record,
    text_to_image_record,
)
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.results.parsing import parse_body
from robustbench_kd.results.record import Record

RECORDS = [
    evasion_record(),
    evasion_record("trades", {"clean": 9, "fgsm": 3}, count=10, data={"classes": 3}),
    backdoor_record({"student": 3}),
    canary_record({"student": [1, 2], "teacher-clean": [3, 4]}),
    membership_record({"student": [0.5, 0.25]}, [True, False]),
    bias_record({"student": 3, "control": 0}),
    text_to_image_record({"student": {"attack_success": 3}}, oracle=True),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.board} {record.label}")
def test_built_records_survive_their_json(record: Record) -> None:
    body = json.loads(json.dumps(record.json()))
    assert parse_body(body, "here") == record


def test_fields_given_by_keyword_are_merged_into_the_defaults() -> None:
    record = evasion_record("x", models={"student": {"weights": 64 * "e"}}, board="digits-linf")
    assert record.student["weights"] == 64 * "e"
    assert record.student["parameters"] == 61_234
    assert record.board == "digits-linf"


def test_a_forged_record_is_refused_for_its_change_only() -> None:
    body = evasion_record().json()
    assert parse_body(forged(body, lambda b: None), "here") == evasion_record()
    with pytest.raises(BadRecord, match=r"lacks the weights of its models.student"):
        parse_body(forged(body, lambda b: b["models"]["student"].pop("weights")), "here")
