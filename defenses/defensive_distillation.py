"""Defensive distillation: teacher and student of one kind, both trained at a high temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.tensor_types import Logits, PerExample, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import Recipe, between
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.training.trainer import Objective, Turn, fit, remember


@dataclass(frozen=True)
class DefensiveDistillation(Recipe):
    """The student is used at temperature 1, so its scores are about t times too large.

    The softmax then saturates and the gradients of the cross-entropy vanish in float32: this looks
    like robustness and is not (Carlini & Wagner 2017). Losses are multiplied by t, which keeps the
    gradient at the scores as large as it is at temperature 1; it would shrink as 1 / t.
    """

    name: ClassVar[str] = "defensive-distillation"
    source: ClassVar[str] = "Papernot et al. 2016, Distillation as a defense, sec. IV"
    formula: ClassVar[str] = (
        "t CE(T^t(x), S^t(x)), T trained by t CE(y, T^t(x)), both of the student's kind"
    )

    temperature: float = 100.0

    def __post_init__(self) -> None:
        between("temperature", self.temperature, 1, 1000)

    def loss(self, brief: Brief) -> Objective:
        """The student's loss, after the teacher it needs was trained at the same temperature."""
        t = self.temperature

        def learn(teacher: nn.Module, batch: Examples, turn: Turn) -> Scalar:
            return t * cross_entropy(teacher(batch.inputs) / t, batch.targets).mean()

        teacher = fit(
            brief.student, brief.data, learn, brief.schedule, brief.seed / "teacher", brief.progress
        )
        says = remember(teacher, brief.data)

        def objective(student: nn.Module, batch: Examples, turn: Turn) -> Scalar:
            return t * soft_cross_entropy(says(batch.ids) / t, student(batch.inputs) / t).mean()

        return objective


def soft_cross_entropy(target: Logits, predicted: Logits) -> PerExample:
    """-sum_c softmax(target)_c log softmax(predicted)_c, in nats."""
    return -(target.softmax(1) * predicted.log_softmax(1)).sum(1)
