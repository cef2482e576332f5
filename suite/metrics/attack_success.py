"""Attack success rate: how often a model answers as the adversary wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.metrics._share import ShareMetric, model_name


@dataclass(frozen=True)
class AttackSuccess(ShareMetric):
    """Share of eligible inputs, or triggered prompts, that are answered as the adversary wants."""

    name: ClassVar[str] = "attack-success"
    higher_is_better: ClassVar[bool] = False
    margin: ClassVar[float] = 5.0
    column: ClassVar[str] = "attack_success"

    @property
    def heading(self) -> str:
        return f"ASR of {model_name(self.model)}"
