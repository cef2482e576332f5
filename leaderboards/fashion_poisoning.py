"""Fashion-MNIST, poisoned under the student's own eyes: its teachers learned from clean images."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule

COSTLY = ("badnets", "blend")
SHORT = Schedule(epochs=2)

FASHION_POISONING = Leaderboard(
    name="fashion-poisoning",
    title="Fashion-MNIST, poisoned training set",
    scenario="fashion",
    budget=Budget("linf", 0.1),
    panel=(
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
        "labels",
        "distillation",
        "adversarial-training",
        "proard",
        "fine-tuning",
        "nad",
    ),
    schedule=SHORT,
    rank_by="inheritance",
    door="student data",
    teaching={"clean": SHORT, "robust": SHORT},
    tried={"adversarial-training": COSTLY, "proard": COSTLY},
)
