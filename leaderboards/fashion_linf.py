"""Fashion-MNIST under small changes of every pixel: evasion against distilled students."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule
from robustbench_kd.leaderboards._metrics import ROBUSTNESS_METRICS

THREE = (0, 1, 2)

FASHION_LINF = Leaderboard(
    name="fashion-linf",
    title="Fashion-MNIST, Linf 0.1",
    scenario="fashion-mnist",
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
        "proard",
        "proard:subnet=middle",
        "proard:subnet=smallest",
        "proard:macs=1440000",
    ),
    metrics=ROBUSTNESS_METRICS,
    rank_by="robust-accuracy",
    schedule=Schedule(epochs=5),
    seeds_by_defense={
        "standard-training": THREE,
        "distillation:teacher=robust": THREE,
        "adversarial-training": THREE,
        "ard": THREE,
        "rslad": THREE,
        "mtard": THREE,
    },
    full_test_attacks=("clean", "fgsm", "pgd:steps=20", "carlini-wagner-linf"),
)
