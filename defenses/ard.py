"""ARD: the student on attacked inputs is trained to answer as the robust teacher on clean ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, check_range
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.losses import cross_entropy, distillation
from robustbench_kd.training.trainer import Objective, TrainStep, cached_logits


@dataclass(frozen=True)
class ARD(AdversarialRecipe):
    """Adversarially robust distillation, with the paper's temperature of 30 and no label term."""

    name: ClassVar[str] = "ard"
    source: ClassVar[str] = "Goldblum et al. 2020, Adversarially robust distillation, eq. 3"
    formula: ClassVar[str] = (
        "alpha t^2 KL(T_r^t(x) || S^t(x')) + (1 - alpha) CE(y, S(x)), x' = argmax CE(y, S(x'))"
    )

    alpha: float = 1.0
    temperature: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("alpha", self.alpha, 0, 1)
        check_range("temperature", self.temperature, 0.1, 1000)

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        return ("robust",)

    def loss(self, context: TrainingContext) -> Objective:
        teacher_logits = cached_logits(context.teachers["robust"], context.data)

        def objective(student: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
            x, y = batch.inputs, batch.targets
            x_adv = self.inner_attack(
                student,
                x,
                context.budget,
                lambda logits, _: cross_entropy(logits, y),
                uniform_start(x, context.budget, step.noise),
            )
            # Both passes, even at alpha = 1: the running statistics see clean inputs as well.
            adversarial, clean = student(x_adv), student(x)
            soft = distillation(adversarial, teacher_logits(batch.ids), self.temperature)
            return (self.alpha * soft + (1 - self.alpha) * cross_entropy(clean, y)).mean()

        return objective
