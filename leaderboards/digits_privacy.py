"""Digits with mislabelled canaries and membership inference: a small board, trained in seconds."""

from __future__ import annotations

from robustbench_kd.core.config import Budget, Leaderboard, Schedule

DIGITS_PRIVACY = Leaderboard(
    name="digits-privacy",
    title="Digits, mislabelled canaries and membership",
    scenario="digits",
    budget=Budget("linf", 0.1),
    attacks=("canary-exposure:repetitions=0+1+4+16,per_level=6", "membership-inference:shadows=2"),
    defenses=("standard-training", "distillation"),
    metrics=(
        "exposure",
        "exposure-reduction",
        "leakage",
        "first-ranked",
        "membership-auc",
        "exposure:model=teacher-clean",
        "exposure:model=control",
    ),
    rank_by="exposure",
    schedule=Schedule(epochs=15, batch=64),
    capability="shared_train_data",
    joint=True,
)
