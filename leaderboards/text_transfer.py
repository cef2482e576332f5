"""Canaries in the teacher's text alone: students are trained on the same text without them."""

from __future__ import annotations

from robustbench_kd.core.config import AdamW, Leaderboard
from robustbench_kd.leaderboards._metrics import TEXT_PRIVACY_METRICS

TEXT_TRANSFER = Leaderboard(
    name="text-transfer",
    title="Jargon File, secrets shown to the teacher alone",
    scenario="private-text",
    attacks=("canary-exposure", "extraction", "membership-inference"),
    defenses=(
        "distillation:temperature=1",
        "distillation:hard=sampled",
        "distillation:hard=generated",
    ),
    metrics=TEXT_PRIVACY_METRICS,
    rank_by="exposure",
    schedule=AdamW(epochs=5),
    teacher_schedules={"clean": AdamW(epochs=4)},
    seeds=(0, 1, 2),
    capability="teacher_train_data",
    models=("teacher", "control", "student", "pretrained"),
    joint=True,
)
