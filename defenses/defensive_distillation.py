"""Defensive distillation: teacher and student of one kind, both trained at a high temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Logits, PerExample, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import Recipe, check_range
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.training.trainer import Objective, TrainStep, cached_logits, fit


@dataclass(frozen=True)
class DefensiveDistillation(Recipe):
    """The student is used at temperature 1, so its logits are about t times too large.

    The softmax then saturates and the gradients of the cross-entropy vanish in float32: this looks
    like robustness and is not (Carlini & Wagner 2017). Losses are multiplied by t, which keeps the
    gradient at the logits as large as it is at temperature 1; it would shrink as 1 / t.
    """

    name: ClassVar[str] = "defensive-distillation"
    source: ClassVar[str] = "Papernot et al. 2016, Distillation as a defense, sec. IV"
    formula: ClassVar[str] = (
        "t CE(T^t(x), S^t(x)), T trained by t CE(y, T^t(x)), both of the student's kind"
    )

    temperature: float = 100.0

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, 1, 1000)

    def loss(self, context: TrainingContext) -> Objective:
        """The student's loss, after its teacher was trained at the same temperature."""
        t = self.temperature

        def teacher_loss(teacher: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
            return t * cross_entropy(teacher(batch.inputs) / t, batch.targets).mean()

        teacher = fit(
            context.student,
            context.data,
            teacher_loss,
            context.schedule,
            context.seed / "teacher",
            context.progress,
        )
        teacher_logits = cached_logits(teacher, context.data)

        def objective(student: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
            target = teacher_logits(batch.ids) / t
            return t * soft_cross_entropy(target, student(batch.inputs) / t).mean()

        return objective


def soft_cross_entropy(target: Logits, predicted: Logits) -> PerExample:
    """-sum_c softmax(target)_c log softmax(predicted)_c, in nats."""
    return -(target.softmax(1) * predicted.log_softmax(1)).sum(1)
