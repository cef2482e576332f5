"""Attack success without a trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.metrics._share import ShareMetric


@dataclass(frozen=True)
class CleanAttackSuccess(ShareMetric):
    """Share of clean prompts whose images show what the attacker wants."""

    name: ClassVar[str] = "clean-attack-success"
    higher_is_better: ClassVar[bool] = False
    margin: ClassVar[float] = 5.0
    column: ClassVar[str] = "clean_attack_success"
