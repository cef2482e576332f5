"""Self-distillation: a network taught by another of its own architecture, and as wide as it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.protocols import Brief
from robustbench_kd.defenses._base import Recipe, between
from robustbench_kd.training.objectives import by_answers
from robustbench_kd.training.trainer import Objective, remember


@dataclass(frozen=True)
class SelfDistillation(Recipe):
    """Plain distillation with a student as large as its teacher, from fresh weights.

    Temperature and weight are those of ``distillation``, so that the two differ in the student
    alone. One generation: the paper goes on, and lets each student teach the next.
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
        between("temperature", self.temperature, 0.1, 1000)
        between("alpha", self.alpha, 0, 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("clean",)

    def loss(self, brief: Brief) -> Objective:
        says = remember(brief.teachers["clean"], brief.data)
        return by_answers(says, self.temperature, self.alpha)
