"""Records of leaderboards whose attacks share one training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from records import canary_record
from robustbench_kd.results.record import Record

PANEL = ("canary-exposure", "extraction", "membership-inference")


def joint_record(label: str, ranks: Sequence[float], seed: int = 0, **fields: Any) -> Record:
    """A record of ``text-privacy`` under its whole panel; every model ranks canaries alike."""
    roles = dict.fromkeys(("student", "teacher-clean", "control"), ranks)
    record = canary_record(roles, label=label, seed=seed, **fields)
    result = record.attacks[PANEL[0]]
    return replace(record, attacks={**record.attacks, **dict.fromkeys(PANEL[1:], result)})
