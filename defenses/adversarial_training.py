"""Adversarial training without a teacher: the control of every robust distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.defenses import AdversarialRecipe
from robustbench_kd.ops.ascent import worst_case
from robustbench_kd.ops.ball import uniform_start
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.protocols import Brief
from robustbench_kd.shapes import Scalar
from robustbench_kd.train import Objective, Turn
from robustbench_kd.types import Examples


@dataclass(frozen=True)
class AdversarialTraining(AdversarialRecipe):
    """Cross-entropy with the labels on PGD's inputs."""

    name: ClassVar[str] = "adversarial-training"
    source: ClassVar[str] = "Madry et al. 2018, Towards deep learning models resistant, eq. 2"
    formula: ClassVar[str] = "CE(y, S(x')), x' = argmax CE(y, S(x'))"

    def loss(self, brief: Brief) -> Objective:
        def objective(student: nn.Module, batch: Examples, turn: Turn) -> Scalar:
            x, y = batch.inputs, batch.targets
            z = worst_case(
                student,
                x,
                brief.budget,
                lambda s, _: cross_entropy(s, y),
                steps=self.steps,
                stride=self.stride,
                start=uniform_start(x, brief.budget, turn.noise),
            )
            return cross_entropy(student(z), y).mean()

        return objective
