"""RSLAD: the robust teacher's soft labels in the loss and in the inner attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, check_range
from robustbench_kd.ops.attacks.projections import gaussian_start
from robustbench_kd.ops.losses import divergence
from robustbench_kd.training.trainer import Objective, TrainStep, cached_logits


@dataclass(frozen=True)
class RSLAD(AdversarialRecipe):
    """No hard label anywhere; ``share`` is the weight of the adversarial term."""

    name: ClassVar[str] = "rslad"
    source: ClassVar[str] = "Zi et al. 2021, Revisiting adversarial robustness distillation, eq. 4"
    formula: ClassVar[str] = (
        "share KL(T_r(x) || S(x')) + (1 - share) KL(T_r(x) || S(x)), "
        "x' = argmax KL(T_r(x) || S(x'))"
    )

    share: float = 5 / 6

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("share", self.share, 0, 1)

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        return ("robust",)

    def loss(self, context: TrainingContext) -> Objective:
        teacher_logits = cached_logits(context.teachers["robust"], context.data)

        def objective(student: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
            x, target = batch.inputs, teacher_logits(batch.ids)
            x_adv = self.inner_attack(
                student,
                x,
                context.budget,
                lambda logits, _: divergence(target, logits),
                gaussian_start(x, step.noise),
            )
            adversarial = divergence(target, student(x_adv))
            clean = divergence(target, student(x))
            return (self.share * adversarial + (1 - self.share) * clean).mean()

        return objective
