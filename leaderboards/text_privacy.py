"""Canaries in a private text, and how well teacher and student memorise them."""

from __future__ import annotations

from robustbench_kd.core.config import AdamW, Leaderboard
from robustbench_kd.leaderboards._metrics import TEXT_PRIVACY_METRICS

THREE = (0, 1, 2)
SOFT = "distillation:temperature=1"
HARD = ("distillation:hard=sampled", "distillation:hard=generated")

TEXT_PRIVACY = Leaderboard(
    name="text-privacy",
    title="Jargon File, private text",
    scenario="private-text",
    attacks=("canary-exposure", "extraction", "membership-inference"),
    defenses=(
        "standard-training",
        SOFT,
        *HARD,
        "swing",
        "swing:scorer=surprise",
        "swing:scorer=surprise,strictness=8",
        "swing:scorer=oracle",
        "swing:symmetric=true",
        # the frontier: how flat, how noisy
        "swing:peak=2",
        "swing:peak=5",
        "swing:peak=50",
        "swing:noise=0.02",
        "swing:noise=0.1",
        "dp-sgd",
    ),
    metrics=TEXT_PRIVACY_METRICS,
    rank_by="exposure",
    schedule=AdamW(epochs=5),
    teacher_schedules={"clean": AdamW(epochs=4)},
    capability="shared_train_data",
    models=("teacher", "control", "student", "pretrained"),
    seeds_by_defense=dict.fromkeys(
        ("standard-training", SOFT, *HARD, "swing", "swing:symmetric=true"), THREE
    ),
    joint=True,
)
