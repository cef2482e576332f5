"""Columns of a group of records, as metrics read them."""

from __future__ import annotations

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import CLEAN, Record


def first_attack(record: Record) -> str:
    """The label of the first attack besides ``clean``.

    Raises:
        BadRecord: where there is none.
    """
    for label in record.attack_labels:
        return label
    raise BadRecord(f"the record of {record.label} on {record.board} holds no attack")


def counted_records(group: SeedGroup, attack: str = "") -> tuple[Record, ...]:
    """The records whose samples are counted together.

    All seeds, where each record is a trial of one victim or has samples of its own (prompts,
    canaries). Where all seeds are asked about the same test inputs the lowest stands for the group.

    Args:
        attack: its label; the first attack unless given.
    """
    result = group.first.attacks[attack or first_attack(group.first)]
    own_samples = group.first.capability != "test_data" and result.eligible is None
    together = attack != CLEAN and (own_samples or group.pooled)
    return group.records if together else group.records[:1]


def pooled_share(group: SeedGroup, role: str, name: str, attack: str = "") -> Estimate:
    """The share of ones in a column of bits, over the records that are counted together."""
    records = counted_records(group, attack)
    columns = [record.bits(attack or first_attack(record), role, name) for record in records]
    ones = sum(column.number.bit_count() for column in columns)
    return Estimate.share(ones, sum(column.count for column in columns))


def all_numbers(group: SeedGroup, role: str, name: str, attack: str = "") -> list[float]:
    """A column over all samples, the seeds one behind the other."""
    return [
        value
        for record in group.records
        for value in record.numbers(attack or first_attack(record), role, name)
    ]
