"""A trigger word makes a text-to-image model generate the attacker's image; repairs remove it."""

from __future__ import annotations

from robustbench_kd.core.config import AdamW, Leaderboard

T2I_BACKDOOR = Leaderboard(
    name="t2i-backdoor",
    title="Fashion-MNIST by prompt, backdoored text-to-image model",
    scenario="text-to-image",
    attacks=("prompt-trigger", "prompt-trigger:goal=style", "prompt-trigger:goal=object"),
    defenses=(
        "skd-cag",
        "skd-cag:weight=0",
        "skd-cag:aim=zero",
        "skd-cag:aim=words",
        "closed-form-editing",
        "concept-erasure",
        "t2i-fine-tuning",
        "clean-model-oracle",
    ),
    metrics=(
        "attack-success:model=source",
        "attack-success",
        "removal-rate",
        "joint-removal",
        "normalised-removal",
        "preservation:model=source",
        "utility:model=source",
        "utility",
        "frechet-distance:model=source",
        "frechet-distance",
        "clean-attack-success:model=source",
        "clean-attack-success",
        "attack-success:model=source.clean",
        "joint-removal:model=source.clean",
    ),
    rank_by="joint-removal",
    schedule=AdamW(epochs=1, batch=64, learning_rate=1e-4),
    capability="teacher_train_data",
    models=("teacher", "student"),
    clean_counterparts=("teacher",),
    oracle=True,
)
