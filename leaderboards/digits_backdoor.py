"""Handwritten digits whose teacher was poisoned: the planted board that runs in seconds."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule

DIGITS_BACKDOOR = Leaderboard(
    name="digits-backdoor",
    title="Handwritten digits, poisoned teacher",
    scenario="digits",
    budget=Budget("linf", 0.1),
    panel=("badnets:size=2",),
    defenses=("distillation",),
    schedule=Schedule(epochs=20, batch=64),
    rank_by="inheritance",
    door="teacher data",
)
