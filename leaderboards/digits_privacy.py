"""Digits under wrong labels and membership, trained in seconds: to try things out on."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule

DIGITS_PRIVACY = Leaderboard(
    name="digits-privacy",
    title="Digits, planted under wrong labels",
    scenario="digits",
    budget=Budget("linf", 0.1),
    panel=("canary:doses=0+1+4+16,each=6", "membership:shadows=2"),
    defenses=("labels", "distillation"),
    schedule=Schedule(epochs=15, batch=64),
    rank_by="exposure",
    door="shared data",
    probed=True,
    together=True,
)
