"""Best-known robust accuracy: what survives every record of one network, whoever made them.

An adversarial example certifies that an input is not robust, and a failed attack certifies nothing.
So the flags of several records may be joined: an example counts as robust only where every record
says so. The joined share can only fall as records are added, and is an upper bound like each alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustbench_kd.core.config import EvaluationWarning
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.results.record import CLEAN, Record

Question = tuple[str, ...]


@dataclass(frozen=True)
class BestKnown:
    """The joined share, and how many examples each record (by its id) was first to break."""

    share: Estimate
    first: Mapping[str, int]


def question(record: Record) -> Question:
    """What two records must share for their flags to be joined: network, examples and ball.

    Weights do not determine the code of a user's network, so there its answers to the clean
    examples must be the same too.
    """
    data, threat, model = record.data, record.threat, record.student
    answers = record.bits(CLEAN, "student", "correct").bits if model.get("user_model") else ""
    examples = (record.scenario, data.get("ids", ""), data["examples"], data["count"])
    ball = (threat["norm"], threat["eps"])
    return tuple(map(str, (model["weights"], answers, *examples, *ball)))


def best_known(records: Sequence[Record]) -> dict[Question, BestKnown]:
    """The bitwise AND over all records of each question that has several.

    The same claim made twice counts once, and a record whose attack left its ball breaks nothing.

    Args:
        records: of attacks on test data, in the order in which they are credited with what several
            of them break.
    """
    groups: dict[Question, list[Record]] = {}
    for record in records:
        if EvaluationWarning.OVER_BUDGET.value not in record.warnings:
            groups.setdefault(question(record), []).append(record)
    joined: dict[Question, BestKnown] = {}
    for key, group in groups.items():
        if len(group) < 2:
            continue  # so that the claims of thousands of single records are not computed
        claims: dict[str, Record] = {}
        for record in group:
            claims.setdefault(record.claim, record)
        if len(claims) > 1:
            joined[key] = _joined(list(claims.values()))
    return joined


def _joined(records: Sequence[Record]) -> BestKnown:
    clean = records[0].bits(CLEAN, "student", "correct")
    unbroken = clean.number
    first: dict[str, int] = {}
    for record in records:
        robust = unbroken & record.robust.number
        first[record.id] = (unbroken & ~robust).bit_count()
        unbroken = robust
    return BestKnown(Estimate.share(unbroken.bit_count(), clean.count), first)
