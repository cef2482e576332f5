"""Fashion-MNIST, taught by a poisoned teacher: the students see clean images only."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule

COSTLY = ("badnets", "blend")
SHORT = Schedule(epochs=2)

FASHION_BACKDOOR = Leaderboard(
    name="fashion-backdoor",
    title="Fashion-MNIST, poisoned teacher",
    scenario="fashion",
    budget=Budget("linf", 0.1),
    panel=(
        "badnets",
        "blend",
        "sig:rate=0.05",
        "wanet",
        "anti-distillation",
        "anti-distillation:rounds=0",
        "badnets:rate=0.05",
        "badnets:rate=0.01",
        "blend:rate=0.05",
        "blend:rate=0.01",
    ),
    defenses=(
        "distillation",
        "self-distillation",
        "ard",
        "rslad",
        "mtard",
        "fine-tuning",
        "fine-pruning",
        "nad",
    ),
    schedule=SHORT,
    rank_by="inheritance",
    door="teacher data",
    teaching={"clean": SHORT, "robust": SHORT},
    tried={
        "self-distillation": COSTLY,
        "fine-pruning": (*COSTLY, "wanet"),
        "ard": COSTLY,
        "rslad": COSTLY,
        "mtard": COSTLY,
    },
)
