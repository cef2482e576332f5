"""What a student inherits of a backdoor: success beyond the clean counterpart, and a verdict."""

from __future__ import annotations

from typing import Literal

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.metrics._columns import first_attack
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import CLEAN, Bits, Record, counterpart

LEARNED = 0.2  # excess success below this is no backdoor worth a ratio
Verdict = Literal["inherited", "failed", "dormant", "degenerate"]


def comparable(record: Record) -> bool:
    """Whether a record holds what a verdict needs: the success and clean answers of four models."""
    try:
        roles = compared_models(record)
    except BadRecord:
        return False
    attacked = record.attacks[first_attack(record)].columns
    clean = record.attacks[CLEAN].columns
    return "classes" in record.data and all(
        isinstance(attacked.get(role, {}).get("attack_success"), Bits)
        and isinstance(clean.get(role, {}).get("correct"), Bits)
        for role in roles
    )


def compared_models(record: Record) -> tuple[str, str, str, str]:
    """The student, its clean counterpart, the source of the poison, and its clean counterpart.

    Raises:
        BadRecord: where no other model was poisoned.
    """
    source = SeedGroup((record,)).source
    return "student", counterpart("student"), source, counterpart(source)


def success(record: Record, role: str) -> float:
    """The share of eligible inputs that a model answers as the adversary wants."""
    return record.bits(first_attack(record), role, "attack_success").share.value


def excess(record: Record, role: str) -> float:
    """Success beyond that on the clean counterpart, which any network may owe to the trigger."""
    return success(record, role) - success(record, counterpart(role))


def verdict(record: Record) -> Verdict:
    """What became of the attack, in one word.

    ``failed``: the source never learned it, so there is no ratio. ``dormant``: without effect on
    the source, and effective on the student. ``degenerate``: the student answers little else than
    the target class. Otherwise ``inherited``, which has a ratio.
    """
    if degenerate(record):
        return "degenerate"
    if excess(record, SeedGroup((record,)).source) < LEARNED:
        return "dormant" if excess(record, "student") >= LEARNED else "failed"
    return "inherited"


def degenerate(record: Record) -> bool:
    """Whether the student is near chance on clean inputs and yet always answers as wanted."""
    chance: float = 1 / record.data["classes"]
    clean = record.bits(CLEAN, "student", "correct").share.value
    return clean <= chance + 0.02 and success(record, "student") > 0.95


def ratio(record: Record) -> float | None:
    """Excess success of the student over that of the source; None where it was not inherited."""
    if verdict(record) != "inherited":
        return None
    return excess(record, "student") / excess(record, SeedGroup((record,)).source)


def group_verdict(group: SeedGroup) -> str:
    """The verdict on the lowest seed; ``trials`` where every record is about one victim."""
    return "trials" if group.pooled else verdict(group.first)
