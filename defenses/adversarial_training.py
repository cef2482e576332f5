"""Adversarial training without a teacher: the control of every robust distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.defenses._base import AdversarialRecipe
from robustbench_kd.training.objectives import adversarial_loss
from robustbench_kd.training.trainer import Objective


@dataclass(frozen=True)
class AdversarialTraining(AdversarialRecipe):
    """Cross-entropy with the labels on PGD's inputs."""

    name: ClassVar[str] = "adversarial-training"
    source: ClassVar[str] = "Madry et al. 2018, Towards deep learning models resistant, eq. 2"
    formula: ClassVar[str] = "CE(y, S(x')), x' = argmax CE(y, S(x'))"

    def loss(self, context: TrainingContext) -> Objective:
        return adversarial_loss(context.budget, self.steps, self.stride)
