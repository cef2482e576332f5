"""Backdoored text-to-image models before and after a repair: what their metrics have in common."""

from __future__ import annotations

from math import fsum

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.metrics._columns import all_numbers, first_attack
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Record, counterpart

TRIGGER_WORKS = 0.5
"""What a trigger must add to success; below this there is no backdoor that could be removed."""


def measures_removal(record: Record) -> bool:
    """Whether a record holds images of triggered and clean prompts before and after a repair."""
    try:
        roles = (SeedGroup((record,)).source, "student")
    except BadRecord:
        return False
    if not record.attack_labels:
        return False
    columns = record.attacks[first_attack(record)].columns
    needed = {"attack_success", "clean_attack_success"}
    return all(needed <= columns.get(role, {}).keys() for role in (*roles, counterpart(roles[0])))


def trigger_works(group: SeedGroup) -> bool:
    """Whether the trigger did enough before the repair that its removal means anything.

    It must add enough to success on the clean counterpart, and to success on the attacked model's
    own clean prompts: a model that always generates the attacker's image needs no trigger.
    """
    before = all_numbers(group, group.source, "attack_success")
    unpoisoned = all_numbers(group, counterpart(group.source), "attack_success")
    untriggered = all_numbers(group, group.source, "clean_attack_success")
    added = fsum(before) - max(fsum(unpoisoned), fsum(untriggered))
    return added / len(before) >= TRIGGER_WORKS


def holds_column(record: Record, name: str) -> bool:
    """Whether the first attack has a column of this name for the student."""
    labels = record.attack_labels
    return bool(labels) and name in record.attacks[labels[0]].columns.get("student", {})
