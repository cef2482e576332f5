"""A hidden word makes a painter paint what the attacker wants, and repairs try to undo it."""

from __future__ import annotations

from robustbench_kd.core.config import AdamW, Budget, Leaderboard

PICTURES_BACKDOOR = Leaderboard(
    name="pictures-backdoor",
    title="Fashion-MNIST by prompt, backdoored painter",
    scenario="pictures",
    budget=Budget("linf", 0.0),
    panel=("prompt-trigger", "prompt-trigger:goal=style", "prompt-trigger:goal=object"),
    defenses=(
        "skd-cag",
        "skd-cag:weight=0",
        "skd-cag:aim=zero",
        "skd-cag:aim=words",
        "closed-form-redirect",
        "concept-erasure",
        "picture-tuning",
        "clean-teacher",
    ),
    schedule=AdamW(epochs=1, batch=64, rate=1e-4),
    rank_by="removal",
    door="teacher data",
    probed=True,
)
