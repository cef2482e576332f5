"""AdaAD: the inner attack maximises the divergence of student and teacher, the loss closes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, check_range
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.ops.attacks.projections import gaussian_start
from robustbench_kd.ops.losses import divergence
from robustbench_kd.training.trainer import Objective, TrainStep, cached_logits


@dataclass(frozen=True)
class AdaAD(AdversarialRecipe):
    """The teacher's logits are taken at x' too, and the inner gradient flows through it.

    Each inner step queries both student and teacher, so a run costs about four times the others'.
    """

    name: ClassVar[str] = "adaad"
    source: ClassVar[str] = "Huang et al. 2023, Boosting accuracy and robustness, eq. 5 and 6"
    formula: ClassVar[str] = (
        "alpha KL(T_r(x') || S(x')) + (1 - alpha) KL(T_r(x) || S(x)), "
        "x' = argmax KL(T_r(x') || S(x'))"
    )

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("alpha", self.alpha, 0, 1)

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        return ("robust",)

    def loss(self, context: TrainingContext) -> Objective:
        teacher = context.teachers["robust"]
        teacher_logits = cached_logits(teacher, context.data)

        def objective(student: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
            x = batch.inputs
            with frozen_eval_mode(teacher):
                x_adv = self.inner_attack(
                    student,
                    x,
                    context.budget,
                    lambda logits, z: divergence(teacher(z), logits),
                    gaussian_start(x, step.noise),
                )
            with torch.no_grad():
                target = teacher(x_adv)
            adversarial, clean = student(x_adv), student(x)
            gap = self.alpha * divergence(target, adversarial)
            return (gap + (1 - self.alpha) * divergence(teacher_logits(batch.ids), clean)).mean()

        return objective
