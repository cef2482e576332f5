"""Self-distillation: a student of the teacher's own architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.defenses._base import Recipe, check_range
from robustbench_kd.training.objectives import distillation_loss
from robustbench_kd.training.trainer import Objective, cached_logits


@dataclass(frozen=True)
class SelfDistillation(Recipe):
    """Plain distillation with a student as large as its teacher, from fresh weights.

    Temperature and weight are those of ``distillation``, so that the two differ in the student
    alone. One generation: in the paper each student becomes the teacher of the next.
    """

    name: ClassVar[str] = "self-distillation"
    source: ClassVar[str] = "Furlanello et al. 2018, Born-Again Neural Networks (ICML)"
    formula: ClassVar[str] = (
        "(1 - alpha) CE(y, S(x)) + alpha t^2 KL(T_c^t(x) || S^t(x)), S of the teacher's network"
    )
    net: ClassVar[str] = "teacher"

    temperature: float = 4.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, 0.1, 1000)
        check_range("alpha", self.alpha, 0, 1)

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        return ("clean",)

    def loss(self, context: TrainingContext) -> Objective:
        teacher_logits = cached_logits(context.teachers["clean"], context.data)
        return distillation_loss(teacher_logits, self.temperature, self.alpha)
