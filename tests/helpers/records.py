"""Small valid records of every threat: their values are given, and were never measured.

Every field of a record can be given by keyword. Dictionaries are merged into the defaults
(``data={"classes": 3}``); everything else replaces them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from record_parts import (
    Flags,
    bits,
    defense_of,
    first,
    forge,
    forged,
    model_of,
    poison_of,
    record_of,
)
from scored_records import (
    bias_record,
    canary_record,
    membership_record,
    scored_record,
    text_to_image_record,
)

from robustbench_kd.results.record import (
    CLEAN,
    COUNTERPART,
    AttackResult,
    Column,
    Record,
    digest,
)

__all__ = [
    "INELIGIBLE",
    "PANEL",
    "TEACHER",
    "Flags",
    "backdoor_record",
    "bias_record",
    "bits",
    "canary_record",
    "evasion_record",
    "evasion_result",
    "first",
    "forge",
    "forged",
    "membership_record",
    "scored_record",
    "text_to_image_record",
]

PANEL = ("clean", "fgsm", "pgd:steps=20", "carlini-wagner-linf", "autoattack:version=fast")
NOTHING = hashlib.sha256(b"").hexdigest()  # of evidence without a byte
INELIGIBLE = 10  # test inputs of a backdoor's own target class, the last ones
TEACHER = "teacher-clean"


def evasion_result(correct: Flags, count: int = 1000, **fields: Any) -> AttackResult:
    """An attack on the student that leaves these answers correct."""
    defaults = {
        "settings": {"eps": 0.1},
        "scorer": "classification",
        "columns": {"student": {"correct": bits(correct, count)}},
        "passes": {"forward": 7, "backward": 3},
    }
    return AttackResult(**{**defaults, **fields})


def evasion_record(
    label: str = "ard",
    correct: Flags | Mapping[str, Flags] = 500,
    *,
    clean: Flags | None = None,
    count: int = 1000,
    seed: int = 0,
    weights: str = "",
    **fields: Any,
) -> Record:
    """A record of ``fashion-linf``.

    Args:
        label: the defense as typed.
        correct: what the student answers correctly under each attack; flags alone stand for all
            attacks of ``PANEL``.
        clean: what it answers correctly when nobody attacks: everything unless given.
        count: test examples, where numbers stand for flags.
        weights: digest of the student; the default follows from label and seed.
    """
    if not isinstance(correct, Mapping):
        same = bits(correct, count)
        correct = dict.fromkeys(PANEL[1:], same)
    columns = {attack: bits(flags, count) for attack, flags in correct.items()}
    size = next((column.count for column in columns.values()), count)
    unattacked = columns.pop(CLEAN, None) or bits(size if clean is None else clean, size)
    defaults = {
        "board": "fashion-linf",
        "scenario": "fashion-mnist",
        "defense": defense_of(label, ("robust",)),
        "seed": seed,
        "data": {"dataset_digest": "e", "examples": "x", "ids": "i", "count": size, "classes": 10},
        "threat": {"capability": "test_data", "norm": "linf", "eps": 0.1},
        "poison": {},
        "evidence": {"sha256": NOTHING, "bytes": 0, "rows": 0},
        "models": {
            "student": model_of(weights or digest([label, seed]))
            | {"parameters": 61_234, "macs": 1_500_000, "user_model": False},
            "teacher-robust": model_of("t"),
        },
        "attacks": {
            attack: evasion_result(column)
            for attack, column in {CLEAN: unattacked, **columns}.items()
        },
    }
    return record_of(defaults, fields)


def backdoor_record(
    success: Mapping[str, Flags] | None = None,
    *,
    label: str = "distillation",
    attack: str = "badnets:size=2",
    capability: str = "teacher_train_data",
    teacher_roles: Sequence[str] = ("clean",),
    eligible: int = 100,
    recovered: Mapping[str, Flags] | None = None,
    correct: Mapping[str, Flags] | None = None,
    rate: float = 0.1,
    seed: int = 0,
    **fields: Any,
) -> Record:
    """A record of ``digits-backdoor``: student, control and teachers, each with its counterpart.

    Args:
        success: eligible triggered inputs that a model answers as the adversary wants: none unless
            given.
        eligible: how many test inputs are eligible, the first ones; ``INELIGIBLE`` others follow.
        recovered: those answered correctly all the same: all that are no success unless given.
        correct: clean inputs that a model answers correctly: all unless given.
        rate: the poisoned share of 1200 training examples.
    """
    success, recovered, correct = dict(success or {}), dict(recovered or {}), dict(correct or {})
    count = eligible + INELIGIBLE
    plain = ["student", "control", *(f"teacher-{role}" for role in teacher_roles)]
    roles = [*plain, *(role + COUNTERPART for role in plain)]
    assert {*success, *recovered, *correct} <= set(roles), "a model that the record does not hold"
    won = {role: bits(success.get(role, 0), eligible) for role in roles}
    attacked: dict[str, dict[str, Column]] = {}
    for role, column in won.items():
        lost = [not flag for flag in column.flags]
        attacked[role] = {
            "attack_success": column,
            "recovered": bits(recovered.get(role, lost), eligible),
        }
    unattacked = {role: {"correct": bits(correct.get(role, count), count)} for role in roles}
    defaults = {
        "board": "digits-backdoor",
        "scenario": "digits",
        "defense": defense_of(label, teacher_roles),
        "seed": seed,
        "data": {"dataset_digest": "e", "examples": "x", "ids": "i", "count": count, "classes": 10},
        "threat": {"capability": capability},
        "poison": poison_of(round(1200 * rate), 1200),
        "models": {role: model_of(digest([role, label, seed])) for role in roles},
        "attacks": {
            CLEAN: AttackResult({}, "classification", unattacked),
            attack: AttackResult(
                {}, "classification", attacked, eligible=bits(first(eligible, count))
            ),
        },
        "evidence": {"sha256": "0" * 64, "bytes": 1},
    }
    return record_of(defaults, fields)
