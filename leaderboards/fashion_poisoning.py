"""Fashion-MNIST with poisoned student data: the teachers are trained on clean images."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule
from robustbench_kd.leaderboards._metrics import BACKDOOR_METRICS

COSTLY = ("badnets", "blend")
SHORT = Schedule(epochs=2)

FASHION_POISONING = Leaderboard(
    name="fashion-poisoning",
    title="Fashion-MNIST, poisoned training set",
    scenario="fashion-mnist",
    budget=Budget("linf", 0.1),
    attacks=(
        "badnets",
        "blend",
        "sig:rate=0.05",
        "wanet",
        "badnets:rate=0.05",
        "badnets:rate=0.01",
        "blend:rate=0.05",
        "blend:rate=0.01",
        "label-flip",
        "label-flip:kind=pair,rate=0.05,target=6",
    ),
    defenses=(
        "standard-training",
        "distillation",
        "adversarial-training",
        "proard",
        "fine-tuning",
        "nad",
    ),
    metrics=BACKDOOR_METRICS,
    rank_by="attack-success",
    schedule=SHORT,
    capability="student_train_data",
    teacher_schedules={"clean": SHORT, "robust": SHORT},
    attacks_by_defense={"adversarial-training": COSTLY, "proard": COSTLY},
)
