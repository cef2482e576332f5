"""Handwritten digits, 8x8, under small changes of every pixel: the board that runs in seconds."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule
from robustbench_kd.leaderboards._metrics import ROBUSTNESS_METRICS

DIGITS_LINF = Leaderboard(
    name="digits-linf",
    title="Handwritten digits, Linf 0.1",
    scenario="digits",
    budget=Budget("linf", 0.1),
    attacks=(
        "clean",
        "fgsm",
        "pgd:steps=20",
        "carlini-wagner-linf",
        "autoattack:version=fast",
    ),
    defenses=(
        "standard-training",
        "distillation",
        "distillation:teacher=robust",
        "defensive-distillation",
        "adversarial-training",
        "trades",
        "ard",
        "rslad",
        "iad",
        "adaad",
        "mtard",
        "mtard:balance=entropy",
    ),
    metrics=ROBUSTNESS_METRICS,
    rank_by="robust-accuracy",
    schedule=Schedule(epochs=20, batch=64),
)
