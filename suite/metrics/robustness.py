"""Best-known robust accuracy: what survives every record of one network, whoever made them.

An adversarial example is a certificate and a robust flag is none, so flags of several records may
be joined: an example is robust only where every record says so. The joined share can but fall as
records are added, and it is an upper bound like each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustbench_kd.core.config import Doubt
from robustbench_kd.ops.statistics.bitset import number_of
from robustbench_kd.results.record import Record, Share

Question = tuple[str, ...]


@dataclass(frozen=True)
class Best:
    """The joined share, and how many examples each record (by its digest) was first to break."""

    share: Share
    first: Mapping[str, int]


def question(record: Record) -> Question:
    """What two records must share for their flags to be joined: network, examples and ball.

    Weights do not tell the code of somebody's own network, so there its answers to the untouched
    examples must be the same too.
    """
    data, threat, model = record.data, record.threat, record.model
    own = record.cell("untouched").bits if model.get("yours") else ""
    asked = (record.scenario, data["ids"], data["examples"], data["count"])
    return tuple(map(str, (model["weights"], own, *asked, threat["norm"], threat["eps"])))


def best_known(records: Sequence[Record]) -> dict[Question, Best]:
    """The bitwise AND over all records of each question that has several.

    The same claim made twice counts once, and a record whose attack left its ball breaks nothing.

    Args:
        records: in the order in which they are credited with what several of them break.
    """
    groups: dict[Question, list[Record]] = {}
    for record in records:
        if Doubt.OVER_BUDGET.value not in record.doubts:
            groups.setdefault(question(record), []).append(record)
    found = {}
    for asked, group in groups.items():
        claims: dict[str, Record] = {}
        for record in group if len(group) > 1 else ():
            claims.setdefault(record.claim, record)
        if len(claims) > 1:
            found[asked] = _joined(list(claims.values()))
    return found


def _joined(records: Sequence[Record]) -> Best:
    count = records[0].worst.count
    left = number_of(records[0].cell("untouched").bits, count)  # broken by nobody yet
    first: dict[str, int] = {}
    for record in records:
        robust = left & number_of(record.robust["bits"], count)
        first[record.id] = (left & ~robust).bit_count()
        left = robust
    return Best(Share(left.bit_count(), count), first)
