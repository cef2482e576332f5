"""No teacher and no attack: the undistilled control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.defenses._base import Recipe
from robustbench_kd.training.objectives import label_loss
from robustbench_kd.training.trainer import Objective


@dataclass(frozen=True)
class StandardTraining(Recipe):
    """Cross-entropy with the labels on clean inputs."""

    name: ClassVar[str] = "standard-training"
    source: ClassVar[str] = "the control"
    modalities: ClassVar[tuple[str, ...]] = ("images", "text")
    formula: ClassVar[str] = "CE(y, S(x))"

    def loss(self, context: TrainingContext) -> Objective:
        return label_loss
