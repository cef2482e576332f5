"""Adversarial training without a teacher: the control of every robust distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.protocols import Brief
from robustbench_kd.defenses._base import AdversarialRecipe
from robustbench_kd.training.objectives import under_attack
from robustbench_kd.training.trainer import Objective


@dataclass(frozen=True)
class AdversarialTraining(AdversarialRecipe):
    """Cross-entropy with the labels on PGD's inputs."""

    name: ClassVar[str] = "adversarial-training"
    source: ClassVar[str] = "Madry et al. 2018, Towards deep learning models resistant, eq. 2"
    formula: ClassVar[str] = "CE(y, S(x')), x' = argmax CE(y, S(x'))"

    def loss(self, brief: Brief) -> Objective:
        return under_attack(brief.budget, self.steps, self.stride)
