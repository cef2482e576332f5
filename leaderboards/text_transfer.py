"""Secrets that only the teacher was shown: its students learn from the same text without them."""

from __future__ import annotations

from robustbench_kd.core.config import AdamW, Budget, Leaderboard

TEXT_TRANSFER = Leaderboard(
    name="text-transfer",
    title="Jargon File, secrets shown to the teacher alone",
    scenario="text",
    budget=Budget("linf", 0.0),
    panel=("canary", "extraction", "membership"),
    defenses=(
        "distillation:temperature=1",
        "distillation:hard=sampled",
        "distillation:hard=generated",
    ),
    schedule=AdamW(epochs=5),
    teaching={"clean": AdamW(epochs=4)},
    seeds=(0, 1, 2),
    rank_by="exposure",
    door="teacher data",
    probed=True,
    together=True,
)
