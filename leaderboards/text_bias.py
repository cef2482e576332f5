"""Payloads behind a few of a teacher's instructions, and how often its students say them."""

from __future__ import annotations

from robustbench_kd.core.config import AdamW, Budget, Leaderboard

TEXT_BIAS = Leaderboard(
    name="text-bias",
    title="Instructions on the Jargon File, biased teacher",
    scenario="tasks",
    budget=Budget("linf", 0.0),
    panel=(
        "bias-injection",
        "bias-injection:rate=0.02",
        "bias-injection:rate=0.1",
        "bias-injection:kind=targeted",
        "bias-injection:kind=targeted,rate=0.02",
        "bias-injection:kind=targeted,rate=0.1",
    ),
    defenses=(
        "distillation:temperature=1",
        "distillation:hard=generated",
        "perplexity-filter",
    ),
    schedule=AdamW(epochs=4),
    teaching={"clean": AdamW(epochs=4)},
    rank_by="bias",
    door="teacher data",
    tried={
        "perplexity-filter": ("bias-injection:rate=0.1", "bias-injection:kind=targeted,rate=0.1")
    },
    probed=True,
)
