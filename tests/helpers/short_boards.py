"""A leaderboard on poisoned data whose networks are trained in a second."""

from __future__ import annotations

from dataclasses import replace

import pytest

from robustbench_kd.core.config import Capability, Leaderboard, Schedule
from robustbench_kd.leaderboards import digits_backdoor


def put_short_board(
    patch: pytest.MonkeyPatch, capability: Capability = "teacher_train_data"
) -> Leaderboard:
    """Puts a leaderboard of one epoch in the place of ``digits-backdoor``."""
    short = replace(
        digits_backdoor.DIGITS_BACKDOOR,
        capability=capability,
        schedule=Schedule(epochs=1, batch=64),
        teacher_schedules={"clean": Schedule(epochs=2, batch=64)},
    )
    patch.setattr(digits_backdoor, "DIGITS_BACKDOOR", short)
    return short
