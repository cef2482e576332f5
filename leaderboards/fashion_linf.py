"""Fashion-MNIST under small changes of every pixel: evasion against distilled students."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule

THREE = (0, 1, 2)

FASHION_LINF = Leaderboard(
    name="fashion-linf",
    title="Fashion-MNIST, Linf 0.1",
    scenario="fashion",
    budget=Budget("linf", 0.1),
    panel=(
        "untouched",
        "fgsm",
        "pgd:steps=20",
        "carlini-wagner-linf",
        "autoattack:form=lean",
    ),
    defenses=(
        "labels",
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
    schedule=Schedule(epochs=5),
    more_seeds={
        "labels": THREE,
        "distillation:teacher=robust": THREE,
        "adversarial-training": THREE,
        "ard": THREE,
        "rslad": THREE,
        "mtard": THREE,
    },
    wide=("untouched", "fgsm", "pgd:steps=20", "carlini-wagner-linf"),
)
