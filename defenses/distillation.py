"""Plain knowledge distillation on clean inputs, from the clean or the robust teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from robustbench_kd.defenses import Recipe, between
from robustbench_kd.lessons import by_answers
from robustbench_kd.protocols import Brief
from robustbench_kd.train import Objective, remember


@dataclass(frozen=True)
class Distillation(Recipe):
    """How much robustness leaks through clean distillation is what this control measures.

    ``alpha`` weighs the teacher against the labels: 0.9 for the clean teacher, 1 for the robust.
    """

    name: ClassVar[str] = "distillation"
    source: ClassVar[str] = "Hinton, Vinyals & Dean 2015, Distilling the knowledge, sec. 2"
    formula: ClassVar[str] = "(1 - alpha) CE(y, S(x)) + alpha t^2 KL(T^t(x) || S^t(x))"

    teacher: Literal["clean", "robust"] = "clean"
    temperature: float = 4.0
    alpha: float | None = None

    def __post_init__(self) -> None:
        between("temperature", self.temperature, 0.1, 1000)
        if self.alpha is not None:
            between("alpha", self.alpha, 0, 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.teacher,)

    def loss(self, brief: Brief) -> Objective:
        says = remember(brief.teachers[self.teacher], brief.data)
        alpha = (
            self.alpha if self.alpha is not None else {"clean": 0.9, "robust": 1.0}[self.teacher]
        )
        return by_answers(says, self.temperature, alpha)
