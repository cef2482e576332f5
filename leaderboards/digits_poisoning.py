"""Handwritten digits, poisoned so that one test image is mistaken: thirty victims a cell."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule

# One budget for all, and victims that the adversary picks among fifty, so that each method stands
# against random poisons with the same victim and the same images.
BUDGET = "rate=0.08,eps=0.4,candidates=50,members=3"
BREW, FROGS, BULLSEYE, CONTROL = (
    f"{name}:{BUDGET}"
    for name in ("witches-brew", "feature-collision", "bullseye", "random-poisons")
)

DIGITS_POISONING = Leaderboard(
    name="digits-poisoning",
    title="Handwritten digits, poisoned for one victim",
    scenario="digits",
    budget=Budget("linf", 0.1),
    panel=(BREW, FROGS, BULLSEYE, CONTROL),
    defenses=("labels", "distillation", "transfer"),
    schedule=Schedule(epochs=20, batch=64),
    rank_by="inheritance",
    seeds=tuple(range(30)),
    door="student data",
    tried={
        "labels": (BREW, CONTROL),
        "distillation": (BREW, CONTROL),
        "transfer": (FROGS, BULLSEYE, CONTROL),
    },
)
