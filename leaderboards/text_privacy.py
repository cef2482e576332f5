"""Secrets in a private text, and what teacher and student know of them afterwards."""

from __future__ import annotations

from robustbench_kd.core.config import AdamW, Budget, Leaderboard

THREE = (0, 1, 2)
SOFT = "distillation:temperature=1"
HARD = ("distillation:hard=sampled", "distillation:hard=generated")

TEXT_PRIVACY = Leaderboard(
    name="text-privacy",
    title="Jargon File, private text",
    scenario="text",
    budget=Budget("linf", 0.0),
    panel=("canary", "extraction", "membership"),
    defenses=(
        "labels",
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
    schedule=AdamW(epochs=5),
    teaching={"clean": AdamW(epochs=4)},
    rank_by="exposure",
    door="shared data",
    more_seeds=dict.fromkeys(("labels", SOFT, *HARD, "swing", "swing:symmetric=true"), THREE),
    probed=True,
    together=True,
)
