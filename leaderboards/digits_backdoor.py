"""Handwritten digits whose teacher was poisoned: a small board that runs in seconds."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule
from robustbench_kd.leaderboards._metrics import BACKDOOR_METRICS

DIGITS_BACKDOOR = Leaderboard(
    name="digits-backdoor",
    title="Handwritten digits, poisoned teacher",
    scenario="digits",
    budget=Budget("linf", 0.1),
    attacks=("badnets:size=2",),
    defenses=("distillation",),
    metrics=BACKDOOR_METRICS,
    rank_by="attack-success",
    schedule=Schedule(epochs=20, batch=64),
    capability="teacher_train_data",
)
