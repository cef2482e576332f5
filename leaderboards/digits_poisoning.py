"""Handwritten digits, poisoned so that one test image is misclassified: thirty targets a cell."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule
from robustbench_kd.leaderboards._metrics import BACKDOOR_METRICS

# One budget for all, and victims that the adversary picks among fifty, so that each method stands
# against random poisons with the same victim and the same images.
BUDGET = "rate=0.08,eps=0.4,candidates=50,members=3"
BREW, FROGS, BULLSEYE, CONTROL = (
    f"{name}:{BUDGET}"
    for name in ("witches-brew", "feature-collision", "bullseye-polytope", "random-poisons")
)

DIGITS_POISONING = Leaderboard(
    name="digits-poisoning",
    title="Handwritten digits, poisoned for one victim",
    scenario="digits",
    budget=Budget("linf", 0.1),
    attacks=(BREW, FROGS, BULLSEYE, CONTROL),
    defenses=("standard-training", "distillation", "transfer-learning"),
    metrics=BACKDOOR_METRICS,
    rank_by="attack-success",
    schedule=Schedule(epochs=20, batch=64),
    seeds=tuple(range(30)),
    capability="student_train_data",
    attacks_by_defense={
        "standard-training": (BREW, CONTROL),
        "distillation": (BREW, CONTROL),
        "transfer-learning": (FROGS, BULLSEYE, CONTROL),
    },
)
