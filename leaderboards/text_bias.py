"""A payload in a few of a teacher's training answers, and how often its students repeat it."""

from __future__ import annotations

from robustbench_kd.core.config import AdamW, Leaderboard

TEXT_BIAS = Leaderboard(
    name="text-bias",
    title="Instructions on the Jargon File, biased teacher",
    scenario="instructions",
    attacks=(
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
    metrics=(
        "bias-rate:model=teacher-clean,prompts=poisoned",
        "bias-rate:prompts=poisoned",
        "bias-amplification:prompts=poisoned",
        "bias-rate:model=teacher-clean,prompts=clean",
        "bias-rate:prompts=clean",
        "bias-amplification:prompts=clean",
        "bias-rate:model=teacher-clean,prompts=unseen",
        "bias-rate:prompts=unseen",
        "bias-amplification:prompts=unseen",
        "bias-rate:model=student.clean,prompts=poisoned",
        "payload-likelihood:model=teacher-clean",
        "payload-likelihood",
    ),
    rank_by="bias-rate:prompts=poisoned",
    schedule=AdamW(epochs=4),
    teacher_schedules={"clean": AdamW(epochs=4)},
    capability="teacher_train_data",
    models=("teacher", "control", "student", "pretrained"),
    attacks_by_defense={
        "perplexity-filter": ("bias-injection:rate=0.1", "bias-injection:kind=targeted,rate=0.1")
    },
)
