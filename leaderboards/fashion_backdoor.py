"""Fashion-MNIST with a poisoned teacher: the students are trained on clean images only."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule
from robustbench_kd.leaderboards._metrics import BACKDOOR_METRICS

COSTLY = ("badnets", "blend")
SHORT = Schedule(epochs=2)

FASHION_BACKDOOR = Leaderboard(
    name="fashion-backdoor",
    title="Fashion-MNIST, poisoned teacher",
    scenario="fashion-mnist",
    budget=Budget("linf", 0.1),
    attacks=(
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
    metrics=BACKDOOR_METRICS,
    rank_by="attack-success",
    schedule=SHORT,
    capability="teacher_train_data",
    teacher_schedules={"clean": SHORT, "robust": SHORT},
    attacks_by_defense={
        "self-distillation": COSTLY,
        "fine-pruning": (*COSTLY, "wanet"),
        "ard": COSTLY,
        "rslad": COSTLY,
        "mtard": COSTLY,
    },
)
